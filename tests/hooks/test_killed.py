"""Was the task really killed? Asked from a triggerer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_batch_provider.hooks.killed import is_killed_async
from tests.polling.support import run

TASK = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=3)


class BusySupervisor:
    """Answers, but has hundreds of others to answer first."""

    def __init__(self, seconds: float, state: str) -> None:
        self.seconds = seconds
        self.states = {"r": {"t_3": state}}

    async def asend(self, question: Any) -> Any:
        await asyncio.sleep(self.seconds)
        return SimpleNamespace(task_states=self.states)


@pytest.mark.parametrize(
    ("seconds", "state", "answer"),
    [(0.0, "failed", True), (60.0, "failed", True), (60.0, "deferred", False), (100_000.0, "failed", False)],
)
def test_a_busy_supervisor_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, seconds: float, state: str, answer: bool
) -> None:
    """A minute's wait for the answer is borne, for ever is not; without an answer nothing counts as killed."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", BusySupervisor(seconds, state), raising=False)

    assert run(is_killed_async(TASK)) is answer
