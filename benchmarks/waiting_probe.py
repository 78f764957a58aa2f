"""How late an event loop wakes, and what a process needs. Imports nothing but the standard library: peers use it too."""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TICK_SECONDS = 0.01
STATUS = Path("/proc/self/status")


class LagProbe:
    """
    Asks the loop to be woken every 10 ms, and notes how late it was.

    The schedule is absolute: a loop that is blocked for 5 s is late for each of the 500 ticks of these 5 s, not once.
    """

    def __init__(self) -> None:
        self.lags = array("d")
        self._next = time.perf_counter() + TICK_SECONDS

    async def run(self) -> None:
        """Note until cancelled."""
        while True:
            await asyncio.sleep(max(0.0, self._next - time.perf_counter()))
            self.catch_up()

    def catch_up(self) -> None:
        """Note all ticks that are due. Once more at the end, or a loop that never came back would look idle."""
        now = time.perf_counter()
        while self._next <= now:
            self.lags.append(now - self._next)
            self._next += TICK_SECONDS

    def spread(self) -> dict[str, float]:
        """Milliseconds."""
        return {name: value * 1000 for name, value in spread(self.lags).items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """
    Median, 99th percentile and highest, by nearest rank: each is a value that was measured.

    :param values: What was measured; NaN for all three when that is nothing.
    """
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys(("p50", "p99", "max"), math.nan)
    return {
        "p50": ordered[math.ceil(0.5 * len(ordered)) - 1],
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def forget_peak() -> int:
    """Forget the highest memory so far (Linux) and return the present one, in bytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """
    A size from /proc, in bytes.

    :param name: ``VmRSS``, or ``VmHWM`` for the highest so far.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
