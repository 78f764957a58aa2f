"""The progress value of a deferred task."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_batch_provider.hooks.progress import XCOM_KEY, publish_progress

TASK = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=3)


class Supervisor:
    """Takes messages, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.messages: list[Any] = []
        self.failure = failure

    async def asend(self, message: Any) -> None:
        if self.failure:
            raise self.failure
        self.messages.append(message)


def publish(supervisor: Supervisor, task_instance: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return asyncio.run(publish_progress(task_instance, {"done": 5}))


def test_is_an_xcom_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the task instance that waits, under a name of its own: never the task's result."""
    supervisor = Supervisor()

    assert publish(supervisor, TASK, monkeypatch)
    (message,) = supervisor.messages
    assert (message.key, message.value, message.map_index) == (XCOM_KEY, {"done": 5}, 3)
    assert (message.dag_id, message.run_id, message.task_id) == ("d", "r", "t")
    assert XCOM_KEY != "return_value"


def test_cannot_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    """When Airflow's internals fail, nothing is shown and nothing happens."""
    assert publish(Supervisor(RuntimeError("no")), TASK, monkeypatch) is False
