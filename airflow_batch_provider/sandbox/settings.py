"""What can be set about a sandbox: its limits, its speed, where it keeps things."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """
    The sizes a sandbox accepts; OpenAI's by default.

    :param max_requests: Most rows of one batch; one more fails its validation.
    :param max_batch_bytes: Largest input file of a batch; a larger one fails its validation.
    :param max_file_bytes: Largest upload; a larger one is answered with 413 while it is still arriving.
    :param max_line_bytes: Longest line of an input file; it bounds what the sandbox holds in memory.
    """

    max_requests: int = 50_000
    max_batch_bytes: int = 200 * 1024 * 1024
    max_file_bytes: int = 512 * 1024 * 1024
    max_line_bytes: int = 16 * 1024 * 1024


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long a batch stays in each state, in seconds.

    :param validating: From creation to ``in_progress`` or ``failed``.
    :param running_base: ``in_progress``, the part every batch takes.
    :param rows_per_second: ``in_progress``, the part that grows with the rows.
    :param running_cap: ``in_progress`` never takes longer than this.
    :param finalizing: From the last row to the end.
    :param cancelling: From the request to cancel to ``cancelled``.
    :param window: From creation to ``expires_at``.
    """

    validating: float = 2.0
    running_base: float = 2.0
    rows_per_second: float = 500.0
    running_cap: float = 20.0
    finalizing: float = 1.0
    cancelling: float = 1.0
    window: float = 86_400.0

    def faster(self, factor: float) -> Durations:
        """Return these durations divided by ``factor``; the 24 hour window stays what it is."""
        return Durations(
            validating=self.validating / factor,
            running_base=self.running_base / factor,
            rows_per_second=self.rows_per_second * factor,
            running_cap=self.running_cap / factor,
            finalizing=self.finalizing / factor,
            cancelling=self.cancelling / factor,
            window=self.window,
        )

    def running(self, rows: int) -> float:
        """Return how long a batch of ``rows`` rows is ``in_progress``."""
        return min(self.running_cap, self.running_base + rows / self.rows_per_second)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that shapes a sandbox.

    :param directory: Where files and batches are kept, and found again by the next sandbox. None: a temporary
        directory that is removed when the sandbox closes.
    :param time_scale: How many times faster than usual batches run.
    :param durations: How long batches take at ``time_scale`` 1.
    :param limits: The sizes that are accepted.
    :param clock: Returns the time in epoch seconds. With a clock of your own nothing in a sandbox depends on
        how fast the machine is.
    :param api_key: When set, every request below ``/v1`` must carry it as a bearer token.
    :param latency: Seconds every request below ``/v1`` waits before it is looked at.
    :param seed: Makes ids, the order of output rows and the dice of faults repeatable.
    :param patience: Seconds (of real time) a request waits for the output of a batch that is due; after that it
        is told the state before, and a later request gets the rest. None: 0.5, or 60 with a clock of your own.
    """

    directory: Path | None = None
    time_scale: float = 1.0
    durations: Durations = Durations()
    limits: Limits = Limits()
    clock: Callable[[], float] = time.time
    api_key: str | None = None
    latency: float = 0.0
    seed: int | None = None
    patience: float | None = None

    @property
    def effective_durations(self) -> Durations:
        """The durations after ``time_scale``."""
        return self.durations.faster(self.time_scale)

    @property
    def effective_patience(self) -> float:
        """The patience after its default."""
        if self.patience is not None:
            return self.patience
        return 0.5 if self.clock is time.time else 60.0
