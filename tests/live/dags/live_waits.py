"""DAGs for the live tests: the waiting operator with every knob as a parameter."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import dag

from airflow_batch_provider.operators.batch import CreateBatchOperator


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"file_id": "", "sandbox": ""},
)
def live_waits() -> None:
    common: dict[str, Any] = {
        "input_file_id": "{{ params.file_id }}",
        "endpoint": "/v1/chat/completions",
        "metadata": {"sandbox": "{{ params.sandbox }}"},
        "wait_for_completion": True,
        "poll_interval": 1,
    }
    CreateBatchOperator(task_id="deferred", deferrable=True, **common)
    CreateBatchOperator(task_id="on_worker", deferrable=False, **common)


live_waits()
