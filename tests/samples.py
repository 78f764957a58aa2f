"""Requests and batches to test with."""

from __future__ import annotations

import io
import json
from typing import Any

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.batches import Batch

ENDPOINT = "/v1/chat/completions"


def request(number: int, *, model: str = "sandbox-echo", **changes: Any) -> dict[str, Any]:
    """
    Build one request.

    :param number: Its number, which makes its custom_id and prompt.
    :param model: Model.
    :param changes: Fields to replace.
    """
    body = {"model": model, "messages": [{"role": "user", "content": f"prompt {number}"}]}
    return {"custom_id": f"row-{number}", "method": "POST", "url": ENDPOINT, "body": body} | changes


def jsonl(requests: list[dict[str, Any]]) -> bytes:
    """
    Write requests as JSON lines.

    :param requests: The requests.
    """
    return b"".join(json.dumps(each).encode() + b"\n" for each in requests)


def create_batch(client: BatchClient, *, requests: int = 3, model: str = "sandbox-echo", **metadata: str) -> Batch:
    """
    Upload requests and create a batch for them.

    :param client: The service.
    :param requests: How many.
    :param model: Model.
    :param metadata: The batch's metadata; ``sandbox="..."`` steers the sandbox.
    """
    content = jsonl([request(number, model=model) for number in range(requests)])
    file = client.upload_file(Upload(lambda: io.BytesIO(content), len(content), "requests.jsonl"))
    body = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": metadata}
    return client.create_batch(body)
