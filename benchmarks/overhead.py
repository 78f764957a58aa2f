"""What a whole run adds to the service's own time."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.memory import whole_run
from benchmarks.report import Row

REQUESTS = 200_000


def run(folder: Path, repetitions: int) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder, on the disk that is meant.
    :param repetitions: How often; three runs say enough.
    """
    runs = [whole_run(folder, REQUESTS, time_scale=1) for _ in range(min(repetitions, 3))]
    median = sorted(runs, key=lambda measured: measured["seconds"])[len(runs) // 2]
    steps = median["steps"]
    own = [measured["seconds"] - measured["steps"]["wait"] for measured in runs]
    named = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items() if step != "wait")
    return [
        Row(
            f"whole run of {REQUESTS:,} requests: our part",
            f"{statistics.median(own):.2f} s (in one run, in seconds: {named})",
            f"waiting for the sandbox {steps['wait']:.2f} s of {median['seconds']:.2f} s",
        ),
        Row(
            "our part, a million requests",
            f"{statistics.median(own) / REQUESTS * 1e6:.0f} s",
            "a service: minutes to 24 h",
        ),
    ]
