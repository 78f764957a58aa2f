"""Benchmarks reach into the package: whoever moves a function there must hear of it here, not when figures are wanted."""

from __future__ import annotations

from pathlib import Path

from benchmarks.memory import whole_run


def test_the_run_that_is_measured_still_runs(tmp_path: Path) -> None:
    """Each step is found under its name, and has a time and a size."""
    measured = whole_run(tmp_path, 20)

    assert measured["steps"].keys() == {"plan", "upload", "create", "look and land", "finish", "wait"}
    assert measured["peaks"].keys() == measured["steps"].keys()
    assert measured["summary"]["outcomes"]["succeeded"] == 20
