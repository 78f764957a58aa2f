"""The stock OpenAI client, which nobody here wrote, against the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types import Batch

from airflow_batch_provider.sandbox import SandboxServer
from tests.sandbox.support import FakeClock, row, rows


@pytest.fixture
def sdk(server: SandboxServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as client:
        yield client


def submit(sdk: openai.OpenAI, content: bytes, metadata: dict[str, str] | None = None) -> Batch:
    file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )


def test_files_live_and_die(sdk: openai.OpenAI, tmp_path: Path) -> None:
    """create, retrieve, list, content, delete."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(rows(3))
    made = sdk.files.create(file=path, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3_600})

    assert (made.filename, made.bytes, made.status, made.expires_at) == (
        "rows.jsonl",
        len(rows(3)),
        "processed",
        made.created_at + 3_600,
    )
    assert sdk.files.retrieve(made.id) == made
    assert [file.id for file in sdk.files.list()] == [made.id]
    assert sdk.files.content(made.id).content == rows(3)
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(made.id)


def test_a_batch_completes(sdk: openai.OpenAI, clock: FakeClock) -> None:
    """create, retrieve until it is done, read the output."""
    batch = submit(sdk, row("a"), {"team": "search"})
    assert (batch.status, batch.metadata) == ("validating", {"team": "search"})
    clock.advance(3)
    assert sdk.batches.retrieve(batch.id).status == "in_progress"
    clock.advance(100)
    done = sdk.batches.retrieve(batch.id)

    assert done.status == "completed"
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (1, 1)
    line = json.loads(sdk.files.content(done.output_file_id or "").text)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "hello a"


def test_findings_arrive(sdk: openai.OpenAI, clock: FakeClock) -> None:
    """A failed batch has errors the client understands."""
    batch = submit(sdk, b"nonsense\n")
    clock.advance(100)
    failed = sdk.batches.retrieve(batch.id)

    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [(error.code, error.line) for error in failed.errors.data] == [("invalid_json_line", 1)]


def test_a_batch_is_cancelled(sdk: openai.OpenAI, clock: FakeClock) -> None:
    """cancel answers with cancelling."""
    batch = submit(sdk, rows(1))

    assert sdk.batches.cancel(batch.id).status == "cancelling"
    clock.advance(5)
    assert sdk.batches.retrieve(batch.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        sdk.batches.cancel(batch.id)


def test_the_pager_walks_through_all(sdk: openai.OpenAI) -> None:
    """Two at a time, all of them come, newest first."""
    made = [submit(sdk, rows(1)).id for _ in range(5)]

    assert [batch.id for batch in sdk.batches.list(limit=2)] == made[::-1]
    assert len(list(sdk.files.list(limit=2))) == 5


def test_refusals_become_bad_request(sdk: openai.OpenAI) -> None:
    """A 400 of ours is the client's BadRequestError, with field and code."""
    file = sdk.files.create(file=("in.jsonl", rows(1)), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="1h")  # type: ignore[arg-type]

    assert (caught.value.param, caught.value.code) == ("completion_window", "invalid_value")
    assert caught.value.request_id is not None


def test_unknown_ids_become_not_found(sdk: openai.OpenAI) -> None:
    """A 404 of ours is the client's NotFoundError."""
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        sdk.batches.retrieve("batch_x")
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        sdk.files.content("file-x")


def test_wrong_keys_become_authentication_errors() -> None:
    """A 401 of ours is the client's AuthenticationError."""
    with (
        SandboxServer(api_key="right") as server,
        openai.OpenAI(base_url=server.url, api_key="wrong", max_retries=0) as sdk,
    ):
        with pytest.raises(openai.AuthenticationError) as caught:
            sdk.files.list()
        assert caught.value.code == "invalid_api_key"
        assert list(sdk.with_options(api_key="right").files.list()) == []


def test_faults_become_the_clients_errors(server: SandboxServer, sdk: openai.OpenAI) -> None:
    """429 is a RateLimitError, 500 an InternalServerError, a cut connection an APIConnectionError."""
    server.faults.add("GET /batches", "status", status=429, retry_after=1, times=1)
    with pytest.raises(openai.RateLimitError):
        sdk.batches.list()
    server.faults.add("GET /batches", "html", status=502, times=1)
    with pytest.raises(openai.InternalServerError):
        sdk.batches.list()
    server.faults.add("GET /batches", "drop", times=1)
    with pytest.raises(openai.APIConnectionError):
        sdk.batches.list()


def test_a_client_that_retries_creates_pays_twice(server: SandboxServer, sdk: openai.OpenAI) -> None:
    """The trap this whole project is about can be set here: one call, two batches."""
    file = sdk.files.create(file=("in.jsonl", rows(1)), purpose="batch")
    server.faults.add("POST /batches", "lost_answer", status=500, times=1)
    sdk.with_options(max_retries=1).batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    assert len(server.batches()) == 2
