"""
The bricks: write requests, upload, create, wait without a worker, download, tidy up.

Needs the connection ``batch_default`` and nothing else; ``make demo`` runs it against the local sandbox.
"""

from __future__ import annotations

import json
from pathlib import Path

import pendulum
from airflow.sdk import dag, task  # on Airflow 2.11: from airflow.decorators

from airflow_batch_provider.operators.batch import (
    CreateBatchOperator,
    DeleteBatchFilesOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)
from airflow_batch_provider.sensors.batch import BatchSensor

REVIEWS = [
    "The delivery was late and the box was torn.",
    "Great quality, I love it!",
    "It does what it says.",
    "Terrible support, I want my money back.",
    "Perfect gift, excellent packaging.",
]


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["batch"],
    params={"folder": "/tmp/batch-example", "requests": 1000, "model": "sandbox-sentiment"},
)
def example_batch_bricks():
    @task
    def write_requests(params: dict) -> str:
        """Write one request per line; in real life this is your data."""
        path = Path(params["folder"]) / "requests.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for number in range(params["requests"]):
                body = {
                    "model": params["model"],
                    "messages": [{"role": "user", "content": REVIEWS[number % len(REVIEWS)]}],
                }
                request = {"custom_id": f"row-{number + 1}", "method": "POST", "url": "/v1/chat/completions"}
                file.write(json.dumps(request | {"body": body}) + "\n")
        return str(path)

    # [START howto_bricks]
    upload = UploadBatchFileOperator(task_id="upload", path=write_requests())
    create = CreateBatchOperator(
        task_id="create",
        input_file_id=upload.output,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "search"},
    )
    wait = BatchSensor(task_id="wait", batch_id=create.output, deferrable=True, poke_interval=1)
    pull = DownloadBatchResultsOperator(task_id="pull", batch_id=create.output, output_path="{{ params.folder }}")
    tidy = DeleteBatchFilesOperator(task_id="tidy", batch_id=create.output)

    upload >> create >> wait >> pull >> tidy
    # [END howto_bricks]


example_batch_bricks()
