"""Checking a file of requests before it is sent, against a bare loop that decodes the same fields."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import write_requests
from benchmarks.processes import measure
from benchmarks.report import Row, median_seconds, speed_ratio

LINES = 50_000
LINE_BYTES = 800


def run(folder: Path, repetitions: int) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder.
    :param repetitions: How often each way is run.
    """
    source = folder / "to-check.jsonl"
    write_requests(source, lines=LINES, line_bytes=LINE_BYTES)
    seconds = measure("check", folder, path=str(source), repetitions=repetitions)
    ours, bare = seconds["ours"], seconds["bare"]
    figures = median_seconds(ours), f"bare loop {median_seconds(bare)}"
    return [Row("check_file, 50,000 requests, 40 MB", *figures, speed_ratio(ours, bare))]
