"""A task instance's identity and its memory across tries."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from airflow_batch_provider.core.identity import TaskIdentity

log = logging.getLogger(__name__)

STATE_KEY = "airflow_batch_provider.submission"


class StateStoreMemory:
    """
    Memory in Airflow's task state store (3.3 and newer): survives retries, kills and clears.

    A user who wants a fresh batch after a clear deletes the key in the UI (tab "Task State Store") or over REST.

    :param store: ``context["task_state_store"]``.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def load(self) -> Mapping[str, Any] | None:
        """Return what was saved last."""
        record = self._store.get(STATE_KEY, None)
        return record if isinstance(record, Mapping) else None

    def save(self, record: Mapping[str, Any]) -> None:
        """Save a record for as long as the DAG run exists."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._store.set(STATE_KEY, dict(record), retention=NEVER_EXPIRE)


class NoMemory:
    """Airflow before 3.3: nothing is remembered, so that later tries ask the service."""

    def load(self) -> Mapping[str, Any] | None:
        """Return nothing."""
        return None

    def save(self, record: Mapping[str, Any]) -> None:
        """Forget."""


def task_memory(context: Any) -> StateStoreMemory | NoMemory:
    """
    Return the memory of a task instance.

    :param context: The task's context.
    """
    store = context.get("task_state_store")
    return NoMemory() if store is None else StateStoreMemory(store)


def identity_of(context: Any) -> TaskIdentity:
    """
    Return who a task instance is, the same for all its tries.

    :param context: The task's context.
    """
    ti = context["ti"]
    map_index = getattr(ti, "map_index", -1)
    return TaskIdentity(ti.dag_id, ti.task_id, ti.run_id, -1 if map_index is None else map_index)


def started_at(context: Any) -> float:
    """
    Return epoch seconds before which no try of the task instance can have run.

    A clear sets the run's start date anew, so it counts only for runs that were never cleared.

    :param context: The task's context.
    """
    run = context.get("dag_run")
    names = ["run_after", "data_interval_end", "logical_date", "start_date"]
    if not getattr(run, "clear_number", 1):
        names.insert(0, "start_date")
    moment = next((value for name in names if (value := getattr(run, name, None)) is not None), None)
    # A day back when Airflow does not say: as long as the longest completion window.
    return float(moment.timestamp()) if moment is not None else time.time() - 86_400
