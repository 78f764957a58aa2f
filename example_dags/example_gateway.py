"""
Through a Portkey gateway: the DAG is the same, the connection says it all.

    AIRFLOW_CONN_BATCH_GATEWAY='{"conn_type": "batch", "host": "http://localhost:8787/v1", "password": "sk-...",
                                 "extra": {"provider": "openai", "metadata": {"team": "search"}}}'

One operator creates the batch and waits for it in the triggerer.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import dag  # on Airflow 2.11: from airflow.decorators

from airflow_batch_provider.operators.batch import (
    CreateBatchOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["batch"],
    params={"path": "/tmp/batch-example/requests.jsonl", "folder": "/tmp/batch-example"},
    default_args={"conn_id": "batch_gateway"},
)
def example_batch_gateway():
    # [START howto_gateway]
    upload = UploadBatchFileOperator(task_id="upload", path="{{ params.path }}", endpoint="/v1/chat/completions")
    create = CreateBatchOperator(
        task_id="create_and_wait",
        input_file_id=upload.output,
        endpoint="/v1/chat/completions",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=5,
        fail_on="any",
    )
    pull = DownloadBatchResultsOperator(task_id="pull", batch_id=create.output, output_path="{{ params.folder }}")
    upload >> create >> pull
    # [END howto_gateway]


example_batch_gateway()
