"""
The peer's part, run by the peers' Python: ``python run_common_ai.py NAME JSON`` prints JSON.

Imports nothing of this project. The service is a stub in the process; nothing is sent.
"""

# ruff: noqa: ARG002 - stubs take what the real thing takes

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.ai.batch.openai import OpenAIBatchAdapter
from airflow.providers.common.ai.batch.output_schema import build_output_spec
from airflow.providers.common.ai.batch.results import stream_results_to_jsonl
from airflow.sdk import ObjectStoragePath

PEER = "apache-airflow-providers-common-ai"


class Files:
    """Takes an upload, and streams a local file as the SDK does."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.uploaded = b""
        self.with_streaming_response = self

    def create(self, file: tuple[str, bytes], purpose: str) -> SimpleNamespace:
        self.uploaded = file[1]
        return SimpleNamespace(id="file-1")

    @contextmanager
    def content(self, file_id: str) -> Iterator[SimpleNamespace]:
        assert self.path is not None
        with self.path.open(encoding="utf-8") as lines:
            yield SimpleNamespace(iter_lines=lambda: lines)


class Batches:
    def create(self, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(id="batch-1")

    def retrieve(self, batch_id: str) -> SimpleNamespace:
        return SimpleNamespace(output_file_id="file-2", error_file_id=None)


def build(source: str, repetitions: int) -> dict[str, Any]:
    """
    Validate and build the same requests.

    They are already there as the peer wants them, a list of dicts in memory; reading the input is not timed.
    """
    with Path(source).open("rb") as file:
        bodies = [json.loads(line)["body"] for line in file]
    requests: Any = [
        {
            "prompt": body["messages"][1]["content"],
            "system_prompt": body["messages"][0]["content"],
            "params": {"temperature": body["temperature"]},
        }
        for body in bodies
    ]
    files = Files()
    adapter = OpenAIBatchAdapter(client=SimpleNamespace(files=files, batches=Batches()))
    asked: dict[str, Any] = {
        "model": "small-1", "output_spec": build_output_spec(str), "idempotency_key": "0123456789abcdef",
    }  # fmt: skip

    def work() -> None:
        adapter.validate_requests(requests, **asked)
        adapter.submit(requests, input_fingerprint="f" * 64, **asked)

    seconds = timed(work, repetitions)
    return {"seconds": seconds, "rows": len(requests), "version": version(PEER)}


def merge(results: str, target: str, repetitions: int) -> dict[str, Any]:
    """Merge a result file into the peer's output file. The file must be that of the first shard: ids from 0."""
    path = Path(results)
    with path.open("rb") as file:
        rows = sum(1 for _ in file)
    adapter = OpenAIBatchAdapter(client=SimpleNamespace(files=Files(path), batches=Batches()))

    def work() -> None:
        counts, _ = stream_results_to_jsonl(
            adapter=adapter,
            batch_id="batch-1",
            output_spec=build_output_spec(str),
            request_count=rows,
            custom_id_prefix="row",
            destination=ObjectStoragePath(target),
        )
        assert counts["success"] == rows, counts

    return {"seconds": timed(work, repetitions), "rows": rows, "version": version(PEER)}


def timed(work: Callable[[], None], repetitions: int) -> list[float]:
    seconds = []
    for number in range(repetitions + 1):
        gc.collect()
        os.sync()
        began = time.perf_counter()
        work()
        if number:  # the first round warms up
            seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
