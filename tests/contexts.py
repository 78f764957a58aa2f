"""A task's context that behaves: XComs and the task state store are kept, nothing is patched."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class FakeTaskInstance:
    """What operators use of a task instance."""

    dag_id: str = "nightly"
    task_id: str = "create"
    run_id: str = "scheduled__2026-11-24"
    map_index: int = -1
    try_number: int = 1
    state: str = "running"
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def get_task_states(self, **which: Any) -> dict[str, dict[str, str]]:
        """Answer like Airflow: states by run and task."""
        key = self.task_id if self.map_index < 0 else f"{self.task_id}_{self.map_index}"
        return {self.run_id: {key: self.state}}


class FakeTaskStateStore:
    """Airflow's task state store, for one task instance."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = value


@dataclass
class FakeDagRun:
    """What operators use of a DAG run."""

    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))


def task_context(ti: FakeTaskInstance | None = None, store: FakeTaskStateStore | None = None) -> dict[str, Any]:
    """
    Build the context of one try.

    :param ti: The task instance.
    :param store: Its state store; None is Airflow before 3.3.
    """
    context: dict[str, Any] = {"ti": ti or FakeTaskInstance(), "dag_run": FakeDagRun()}
    if store is not None:
        context["task_state_store"] = store
    return context
