"""
The whole run in one task: every row back, in input order, paid once.

Needs the connection ``batch_default`` and nothing else; ``make demo`` runs it against the local sandbox.
"""

from __future__ import annotations

import json
from pathlib import Path

import pendulum
from airflow.sdk import dag, task  # on Airflow 2.11: from airflow.decorators

from airflow_batch_provider.operators.batch import BatchInferenceOperator

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
def example_batch_inference():
    @task
    def write_requests(params: dict) -> str:
        """Write one request per line; in real life this is your data."""
        path = Path(params["folder"]) / "requests.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for number in range(params["requests"]):
                message = {"role": "user", "content": REVIEWS[number % len(REVIEWS)]}
                body = {"model": params["model"], "messages": [message]}
                request = {"custom_id": f"row-{number + 1}", "method": "POST", "url": "/v1/chat/completions"}
                file.write(json.dumps(request | {"body": body}) + "\n")
        return str(path)

    # [START howto_inference]
    BatchInferenceOperator(
        task_id="label",
        input=write_requests(),
        output="{{ params.folder }}/{{ run_id | replace(':', '') }}",
        endpoint="/v1/chat/completions",
        deferrable=True,
        poll_interval=1,
    )
    # [END howto_inference]


example_batch_inference()
