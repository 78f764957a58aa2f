"""What the tests of the core share: batches and request lines with everything ordinary filled in."""

from __future__ import annotations

import json
from typing import Any

import pendulum

from airflow_batch_provider.core.batches import Batch, RequestCounts
from airflow_batch_provider.core.outcomes import Answer, encode_tail
from airflow_batch_provider.core.status import BatchStatus

CHAT = "/v1/chat/completions"
NOW = 1_800_000_000.0


def batch(
    batch_id: str = "batch_1",
    status: BatchStatus = BatchStatus.IN_PROGRESS,
    *,
    counts: tuple[int, int, int] | None = None,
    created_at: float | None = None,
    **fields: Any,
) -> Batch:
    """Return a batch; ``counts`` are (total, completed, failed), ``created_at`` is epoch seconds."""
    return Batch(
        id=batch_id,
        status=status,
        counts=None if counts is None else RequestCounts(*counts),
        created_at=None if created_at is None else pendulum.from_timestamp(created_at),
        **fields,
    )


def line(custom_id: Any = "row-1", **changes: Any) -> bytes:
    """Return a request line; ``changes`` replace fields, and None removes one."""
    body = {"model": "m", "messages": [{"role": "user", "content": "the secret prompt"}]}
    fields = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body, **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode() + b"\n"


def row(index: int, custom_id: str, answer: Answer, number: int = 0) -> bytes:
    """Return a result row of a round."""
    head = f'{{"index":{index},"custom_id":{json.dumps(custom_id)}'
    return head.encode() + encode_tail(answer, number, b'"batch"')
