"""What the tests through the gateway share: connections as the hook makes them, rows, a memory, a clock."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import KEY_FIELD
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.intake import check_file, upload_checked
from airflow_batch_provider.storage.paths import as_path
from airflow_batch_provider.storage.whole_files import WholeFile
from airflow_batch_provider.submission import Submission
from airflow_batch_provider.waiting import wait_for_batches
from tests.servers import Server

KEY = "sk-test-0123456789-secret"
CHAT = "/v1/chat/completions"
BODY = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}

Connect = Callable[..., BatchClient]


class FakeClock:
    """A clock that moves when somebody sleeps by it."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeMemory:
    """What a task remembers across its tries."""

    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        return self.record

    def save(self, record: Mapping[str, Any]) -> None:
        self.record = dict(record)


def settings(gateway: Server, upstream_url: str | None, *, password: str | None = KEY, **extra: Any) -> ServiceSettings:
    """A connection to a service behind the gateway; extras of None are left out, no retries unless asked for."""
    values = {"provider": "openai", "custom_host": upstream_url, "max_retries": 0, **extra}
    given = {name: value for name, value in values.items() if value is not None}
    return ServiceSettings.from_parts(host=gateway.url, password=password, extra=given)


def rows(count: int, text: str = "hello") -> bytes:
    """Chat requests: row-0, row-1, ..."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"row-{index}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": "any", "messages": [{"role": "user", "content": f"{text} {index}"}]},
            }
        ).encode()
        + b"\n"
        for index in range(count)
    )


def read_rows(path: str) -> dict[str, dict[str, Any]]:
    """The rows of a result file by custom_id."""
    found = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    assert len({row["custom_id"] for row in found}) == len(found), "a row came twice"
    return {row["custom_id"]: row for row in found}


def small_upload(content: bytes = b"{}\n") -> Upload:
    """A file to upload from memory."""
    return Upload(lambda: contextlib.closing(io.BytesIO(content)), len(content), "in.jsonl")


def upload_path(client: BatchClient, path: Path, content: bytes) -> str:
    """Write a file of requests, check it and upload it; returns the file's id."""
    path.write_bytes(content)
    return upload_checked(client, check_file(str(path), client.settings.limits, None), None).id


def download(client: BatchClient, file_id: str, path: Path, expected_bytes: int | None = None) -> int:
    """Download a file the way the hook does; returns its size."""
    target = as_path(str(path))
    return client.download_file(file_id, lambda: WholeFile(target), expected_bytes=expected_bytes).bytes


def wait(client: BatchClient, batch_id: str, clock: FakeClock) -> Batch:
    """Wait for one batch by a clock that costs no time."""
    watch = Watch([batch_id], started_at=clock(), deadline_at=clock() + 100_000, policy=WatchPolicy())
    return wait_for_batches(client, watch, clock=clock, sleep=clock.sleep)[0]


def submission(
    client: BatchClient, memory: FakeMemory, file_id: str, key: str, clock: Callable[[], float], *, is_first_try: bool
) -> Submission:
    """One batch to create once."""
    return Submission(
        client=client,
        memory=memory,
        body={**BODY, "input_file_id": file_id, "metadata": {KEY_FIELD: key}},
        key=key,
        is_first_try=is_first_try,
        earliest=clock() - 60,
        on_unknown="fail",
        clock=clock,
    )
