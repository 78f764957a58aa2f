"""DAGs for the live tests: the waiting operator with every knob as a parameter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag

from airflow_batch_provider.operators.batch import BatchInferenceOperator, CreateBatchOperator


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


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={"input": "", "output": "", "sandbox": ""},
)
def live_run() -> None:
    BatchInferenceOperator(
        task_id="run",
        input="{{ params.input }}",
        output="{{ params.output }}",
        endpoint="/v1/chat/completions",
        metadata={"sandbox": "{{ params.sandbox }}"},
        limits={"max_requests": 100},
        deferrable=True,
        poll_interval=1,
        retries=2,
        retry_delay=timedelta(seconds=2),
    )


live_run()
