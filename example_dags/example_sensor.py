"""
The sensor alone: wait for batches that somebody else created, for example a service of your own.

Give their ids as a DAG parameter: ``airflow dags trigger example_batch_sensor --conf '{"batch_ids": ["batch_a"]}'``.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import dag  # on Airflow 2.11: from airflow.decorators

from airflow_batch_provider.operators.batch import DownloadBatchResultsOperator
from airflow_batch_provider.sensors.batch import BatchSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["batch"],
    params={"batch_ids": [], "folder": "/tmp/batch-example"},
    render_template_as_native_obj=True,
)
def example_batch_sensor():
    # [START howto_sensor]
    wait = BatchSensor(
        task_id="wait",
        batch_id="{{ params.batch_ids }}",
        fail_on="never",  # expired batches have rows too: take what there is
        deferrable=True,
    )
    pull = DownloadBatchResultsOperator.partial(task_id="pull", output_path="{{ params.folder }}").expand(
        batch_id=wait.output.map(lambda batch: batch["id"])
    )
    wait >> pull
    # [END howto_sensor]


example_batch_sensor()
