"""Peak memory of a whole run against the sandbox, above an idle task process, at each step and at two sizes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.data import write_requests
from benchmarks.processes import server
from benchmarks.report import Bar, Row, SkippedError
from benchmarks.run_peers import ours
from benchmarks.run_sampling import STATUS

SIZES = tuple(int(size) for size in os.environ.get("BENCHMARK_RUN_SIZES", "1000000,2000000").split(","))
LINE_BYTES = 700
MAX_MB, MAX_GROWTH_MB = 200, 20


def run(folder: Path, repetitions: int) -> list[Row]:  # noqa: ARG001 - as all benchmarks
    """
    Measure, once for each size: a peak is what the worst moment needs, not a median.

    :param folder: A temporary folder, on the disk that is meant.
    :param repetitions: Not used.
    :raises SkippedError: There is no /proc.
    """
    if not STATUS.exists():
        raise SkippedError("memory is measured through /proc, which only Linux has")
    idle = ours("idle", folder)["idle_bytes"] / 1e6
    rows = [Row("an idle task process", f"{idle:.0f} MB", "")]
    highest = []
    for size in SIZES:
        measured = whole_run(folder, size)
        over = {step: peak / 1e6 - idle for step, peak in measured["peaks"].items()}
        highest.append(max(over.values()))
        steps = ", ".join(f"{step} {value:.0f}" for step, value in over.items())
        bars = (Bar(highest[-1], MAX_MB, at_least=False, unit=" MB"),)
        rows.append(
            Row(f"run of {size:,} requests: highest over idle", f"{highest[-1]:.0f} MB ({steps})", "", None, bars)
        )
    if len(highest) > 1:
        grown = highest[-1] - highest[0]
        bar = Bar(grown, MAX_GROWTH_MB, at_least=False, unit=" MB")
        rows.append(Row(f"growth from {SIZES[0]:,} to {SIZES[-1]:,}", f"{grown:.1f} MB", "", None, (bar,)))
    return rows


def whole_run(folder: Path, requests: int, *, time_scale: int = 1000) -> dict[str, Any]:
    """
    Do a whole run in a fresh process against a sandbox in another; nothing of it stays.

    :param folder: The benchmark's temporary folder.
    :param requests: How many.
    :param time_scale: How many times faster than usual the sandbox's batches run.
    """
    place = folder / f"run-{requests}"
    place.mkdir()
    source, output = place / "requests.jsonl", place / "output"
    write_requests(source, lines=requests, line_bytes=LINE_BYTES)
    options = ("--port", "0", "--quiet", "--time-scale", str(time_scale), "--dir", str(place / "sandbox"))
    try:
        with server("airflow_batch_provider.sandbox", *options, folder=folder) as url:
            measured: dict[str, Any] = ours("whole_run", folder, url=url, source=str(source), output=str(output))
        with (output / "results.jsonl").open("rb") as results:
            rows = sum(1 for _ in results)
        if rows != requests or measured["summary"]["outcomes"]["succeeded"] != requests:
            raise RuntimeError(f"{rows} rows for {requests} requests: {measured['summary']}")
        return measured
    finally:
        shutil.rmtree(place)
