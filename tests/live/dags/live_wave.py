"""DAGs for the deployment tests: as many deferred batches as one likes, of every kind this package can wait for."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_batch_provider.operators.batch import BatchInferenceOperator, CreateBatchOperator
from airflow_batch_provider.sensors.batch import BatchSensor

START = pendulum.datetime(2026, 1, 1, tz="UTC")
ENDPOINT = "/v1/chat/completions"
POLL_SECONDS = 10


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_tasks=64,
    # Each a list with one item for one task: what the sandbox shall do with its batch, or whom it waits for.
    params={"file_id": "", "folder": "", "created": [], "inferred": [], "sensed": []},
)
def live_wave() -> None:
    @task
    def each(what: str, **context: Any) -> list[Any]:
        return list(context["params"][what])

    @task
    def outputs(**context: Any) -> list[dict[str, Any]]:
        folder = context["params"]["folder"]
        items = enumerate(context["params"]["inferred"])
        return [{"output": f"{folder}/{number}", "metadata": {"sandbox": order}} for number, order in items]

    @task
    def orders(**context: Any) -> list[dict[str, str]]:
        return [{"sandbox": order} for order in context["params"]["created"]]

    # No retries: nothing that is done to this deployment may cost a task a try.
    CreateBatchOperator.partial(
        task_id="created",
        input_file_id="{{ params.file_id }}",
        endpoint=ENDPOINT,
        wait_for_completion=True,
        deferrable=True,
        poll_interval=POLL_SECONDS,
    ).expand(metadata=orders())
    BatchInferenceOperator.partial(
        task_id="inferred",
        input="{{ params.folder }}/one.jsonl",
        endpoint=ENDPOINT,
        deferrable=True,
        poll_interval=POLL_SECONDS,
    ).expand_kwargs(outputs())
    BatchSensor.partial(task_id="sensed", deferrable=True, poke_interval=POLL_SECONDS).expand(batch_id=each("sensed"))


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None,
    start_date=START,
    catchup=False,
    params={"input": "", "output": "", "sandbox": ""},
)
def live_rounds() -> None:
    BatchInferenceOperator(
        task_id="run",
        input="{{ params.input }}",
        output="{{ params.output }}",
        endpoint=ENDPOINT,
        metadata={"sandbox": "{{ params.sandbox }}"},
        limits={"max_requests": 10},
        max_rounds=2,
        fail_on="never",
        deferrable=True,
        poll_interval=POLL_SECONDS,
    )


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None, start_date=START, catchup=False, params={"input": "", "output": ""}
)
def live_large() -> None:
    BatchInferenceOperator(
        task_id="run",
        input="{{ params.input }}",
        output="{{ params.output }}",
        endpoint=ENDPOINT,
        metadata={"sandbox": "seconds=1"},
        limits={"max_requests": 30_000},
        deferrable=True,
        poll_interval=POLL_SECONDS,
    )


@dag(  # type: ignore[untyped-decorator, unused-ignore]
    schedule=None,
    start_date=START,
    catchup=False,
    params={"file_id": "", "sandbox": "", "conn_id": ""},
)
def live_connection() -> None:
    CreateBatchOperator(
        task_id="wait",
        input_file_id="{{ params.file_id }}",
        endpoint=ENDPOINT,
        metadata={"sandbox": "{{ params.sandbox }}"},
        wait_for_completion=True,
        deferrable=True,
        poll_interval=POLL_SECONDS,
        conn_id="{{ params.conn_id }}",
    )


live_wave()
live_rounds()
live_large()
live_connection()
