"""The main job, written so that Airflow 2.11 to 3.x load it; run by ``make compat`` on each version."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_batch_provider.operators.batch import (
    BatchInferenceOperator,
    CancelBatchOperator,
    CreateBatchOperator,
    DeleteBatchFilesOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)
from airflow_batch_provider.sensors.batch import BatchSensor

FOLDER = os.environ.get("COMPAT_FOLDER", "/tmp/compat")

with DAG("compat", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), catchup=False):
    upload = UploadBatchFileOperator(task_id="upload", path=f"{FOLDER}/requests.jsonl")
    create = CreateBatchOperator(
        task_id="create",
        input_file_id=upload.output,
        endpoint="/v1/chat/completions",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
    )
    poke = BatchSensor(task_id="poke", batch_id=create.output, poke_interval=1)
    wait = BatchSensor(task_id="wait", batch_id=create.output, deferrable=True, poke_interval=1)
    pull = DownloadBatchResultsOperator(task_id="pull", batch_id=create.output, output_path=FOLDER)
    cancel = CancelBatchOperator(task_id="cancel", batch_id=create.output)
    tidy = DeleteBatchFilesOperator(task_id="tidy", batch_id=create.output)
    run = BatchInferenceOperator(
        task_id="run",
        input=f"{FOLDER}/requests.jsonl",
        output=f"{FOLDER}/run",
        limits={"max_requests": 20},
        deferrable=True,
        poll_interval=1,
    )
    upload >> create >> [poke, wait] >> pull >> cancel >> tidy >> run
