"""What a benchmark has to say, and how it is printed."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

VERSIONS = ("apache-airflow", "httpx", "httpcore", "h11", "msgspec")


@dataclass(frozen=True)
class Bar:
    """
    A promise about a number.

    :param value: What was measured.
    :param limit: What it is held against.
    :param at_least: True when more is better.
    :param unit: Of both.
    """

    value: float
    limit: float
    at_least: bool = True
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}{self.unit}: {'pass' if self.holds else '**FAIL**'}"


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    :param what: What was measured.
    :param ours: Our figure.
    :param peer: The peer's figure, or what it is.
    :param ratio: Our speed in units of the peer's: 1 is as fast, more is faster.
    :param bars: What is promised about it.
    """

    what: str
    ours: str
    peer: str
    ratio: float | None = None
    bars: tuple[Bar, ...] = ()


class SkippedError(Exception):
    """A benchmark that cannot run here; the text says what is missing."""


def speed_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """
    Our speed in units of the peer's: the median over repetitions, each against the peer's run beside it.

    :param ours: Seconds of our runs.
    :param peer: Seconds of the peer's runs, in the same order.
    """
    return statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))


def median_seconds(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s"


def median_speed(seconds: Sequence[float], size: int) -> str:
    return f"{statistics.median(seconds):.2f} s, {size / 1e6 / statistics.median(seconds):,.0f} MB/s"


def table(rows: Iterable[Row]) -> str:
    lines = ["| what | ours | peer | ratio | bar |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        bars = "; ".join(str(bar) for bar in row.bars)
        lines.append(f"| {row.what} | {row.ours} | {row.peer} | {ratio} | {bars} |")
    return "\n".join(lines)


def facts() -> str:
    """What the figures depend on, without the machine's name."""
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores} cores, {platform.system()} "
        f"{platform.machine()}, load at the start {load}; {versions}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
