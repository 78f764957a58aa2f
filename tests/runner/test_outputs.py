"""Where a run's output may be: a local folder by its path or by a URL, and nothing is written beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock
from tests.runner.support import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=8) as server:
        yield Desk(server, clock, tmp_path / "desk")


@pytest.mark.parametrize("scheme", ["file://", "local://"])
@pytest.mark.parametrize(
    "models",
    [
        pytest.param(["sandbox-echo"] * 3, id="linked"),
        pytest.param(["sandbox-echo", "sandbox-fail-400", "sandbox-fail-500"], id="two-rounds"),
    ],
)
def test_a_url_of_a_local_folder_is_that_folder(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, models: list[str]
) -> None:
    """The run ends as with a plain path: all rows there, tidied up, and no folder named like the URL anywhere."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    desk.write(*models)

    summary = desk.finish(output=f"{scheme}{desk.output}")

    assert summary["requests"] == len(desk.rows()) == len(models)
    assert [row["index"] for row in desk.rows()] == list(range(len(models)))
    assert desk.left_behind() == []
    assert list(here.iterdir()) == []


def test_rows_below_a_url_become_the_results_by_a_link(desk: Desk) -> None:
    """Written once, as below a plain path."""
    desk.write(*["sandbox-echo"] * 3)
    desk.finish(output=f"file://{desk.output}", keep_run_files=True)

    assert (desk.output / "results.jsonl").stat().st_nlink == 2
