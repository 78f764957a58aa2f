"""The client against a real server on a real connection, with everything going wrong."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_batch_provider.client import AsyncBatchClient, BatchClient, ServiceSettings
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    AuthenticationError,
    BatchError,
    ConfigurationError,
    DownloadError,
    InputError,
    SubmissionUnknownError,
)
from airflow_batch_provider.sandbox import Limits, SandboxServer
from tests.client.support import Target, upload_of
from tests.core.support import CHAT, line

CREATE = {"endpoint": CHAT, "completion_window": "24h"}
CONTENT = "GET /files/{id}/content"


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(time_scale=1_000, seed=1, limits=Limits(max_file_bytes=6 << 20)) as running:
        yield running


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    running.calls.clear()
    yield running
    running.faults.clear()


@pytest.fixture
def client(server: SandboxServer) -> Iterator[BatchClient]:
    with connect(server) as client:
        yield client


def connect(server: SandboxServer, **extra: Any) -> BatchClient:
    return BatchClient(ServiceSettings.from_parts(host=server.url, extra=extra), sleep=lambda _: None)


def lines(size: int = 3) -> bytes:
    return b"".join(line(f"row-{number}") for number in range(size))


def test_the_whole_way(client: BatchClient) -> None:
    """Upload, create, look, list, download, delete."""
    file = client.upload_file(upload_of(lines()))
    batch = client.create_batch({**CREATE, "input_file_id": file.id, "metadata": {"team": "search"}})
    while not batch.status.has_ended:
        batch = client.get_batch(batch.id)
    target = Target()
    found = client.download_file(batch.output_file_id or "", target.open, expected_bytes=None)

    assert batch.status is BatchStatus.COMPLETED
    assert batch.metadata == {"team": "search"}
    assert file.bytes == client.get_file(file.id).bytes == len(lines())
    assert (target.content or b"").count(b"\n") == 3
    assert found.bytes == client.get_file(batch.output_file_id or "").bytes
    assert batch.id in [other.id for other in client.list_batches(page_size=1)]
    assert client.delete_file(file.id)
    assert file.id not in [other.id for other in client.list_files(purpose="batch", page_size=1)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("lost_answer", {}, id="connection-cut"),
        pytest.param("lost_answer", {"status": 500}, id="500-after-the-work"),
        pytest.param("drop", {}, id="dropped"),
        pytest.param("html", {"status": 502}, id="bad-gateway"),
        pytest.param("empty", {"status": 504}, id="gateway-timeout"),
    ],
)
def test_a_create_is_sent_once(server: SandboxServer, client: BatchClient, kind: Any, options: dict[str, Any]) -> None:
    """Whatever is lost, there is at most one batch more, and the caller is told to look."""
    file = client.upload_file(upload_of(lines()))
    before = len(server.batches())
    server.faults.add("POST /batches", kind, times=1, **options)
    with pytest.raises(SubmissionUnknownError):
        client.create_batch({**CREATE, "input_file_id": file.id})

    assert server.calls["POST /batches"] == 1
    assert len(server.batches()) - before == (1 if kind == "lost_answer" else 0)


def test_a_create_that_is_slowed_down_is_repeated(server: SandboxServer, client: BatchClient) -> None:
    """A plain 429 made no batch."""
    file = client.upload_file(upload_of(lines()))
    before = len(server.batches())
    server.faults.add("POST /batches", "status", times=2, status=429, retry_after=1)
    client.create_batch({**CREATE, "input_file_id": file.id})

    assert server.calls["POST /batches"] == 3
    assert len(server.batches()) - before == 1


def test_an_upload_that_loses_its_answer_is_repeated_whole(server: SandboxServer, client: BatchClient) -> None:
    """A lost upload costs nothing; the second file is as long as the first."""
    before = len(server.files())
    server.faults.add("POST /files", "lost_answer", times=1)
    file = client.upload_file(upload_of(lines(2_000)))

    assert [found["bytes"] for found in server.files()[before:]] == [len(lines(2_000))] * 2
    assert client.get_file(file.id).bytes == len(lines(2_000))


def test_an_upload_that_is_too_large_is_refused_by_name(client: BatchClient) -> None:
    """The 413 that comes while the file is still being sent is read, and not repeated."""
    with pytest.raises(ApiStatusError) as caught:
        client.upload_file(upload_of(b"x" * (12 << 20)))

    assert caught.value.status_code == 413


def test_a_file_that_changed_leaves_nothing(server: SandboxServer, client: BatchClient) -> None:
    """An upload that is broken off makes no file at the service."""
    from airflow_batch_provider.client.multipart import Upload

    before = len(server.files())
    for announced in (len(lines()) + 1, len(lines()) - 1):
        with pytest.raises(InputError):
            client.upload_file(Upload(lambda: io.BytesIO(lines()), announced, "in.jsonl"))

    assert len(server.files()) == before


@pytest.fixture(scope="module", params=[1_000, 5 << 20], ids=["small", "large"])
def stored(request: pytest.FixtureRequest, running: SandboxServer) -> tuple[str, bytes]:
    """A file at the service: its id and content."""
    content = b'{"text": "\xc3\xa4"}\n' * (request.param // 14)
    with connect(running) as client:
        return client.upload_file(upload_of(content)).id, content


TRUNCATED = [
    pytest.param({"at": 0.5}, False, id="with-length"),
    pytest.param({"at": 0.0}, False, id="with-length-at-once"),
    pytest.param({"at": 0.99}, False, id="with-length-at-the-end"),
    pytest.param({"at": 0.5, "chunked": True}, False, id="chunked"),
    pytest.param({"at": 0.5, "silent": True}, True, id="silent"),
]


@pytest.mark.parametrize(("options", "_needs_size"), TRUNCATED)
def test_a_truncated_download_is_fetched_again(
    server: SandboxServer, client: BatchClient, stored: tuple[str, bytes], options: dict[str, Any], _needs_size: bool
) -> None:
    """However the cut shows (not at all, when it is silent: then by the size), the whole file arrives."""
    file_id, content = stored
    server.faults.add(CONTENT, "truncate", times=1, **options)
    target = Target()
    found = client.download_file(file_id, target.open, expected_bytes=len(content))

    assert target.content == content
    assert (found.bytes, target.tries) == (len(content), 2)


@pytest.mark.parametrize(("options", "needs_size"), TRUNCATED)
def test_a_download_that_stays_truncated_is_refused(
    server: SandboxServer, client: BatchClient, stored: tuple[str, bytes], options: dict[str, Any], needs_size: bool
) -> None:
    """Nothing is kept; without a known size only the silent cut cannot be seen here (rows are checked elsewhere)."""
    file_id, content = stored
    server.faults.add(CONTENT, "truncate", **options)
    target = Target()
    with pytest.raises(BatchError) as caught:
        client.download_file(file_id, target.open, expected_bytes=len(content))

    assert target.content is None
    assert isinstance(caught.value, DownloadError) is needs_size
    assert server.calls[CONTENT] == 6


def test_a_slow_download_is_given_up(server: SandboxServer, stored: tuple[str, bytes]) -> None:
    """The answer's timeout of the connection counts."""
    server.faults.add(CONTENT, "latency", seconds=20)
    client = BatchClient(ServiceSettings(base_url=server.url, timeout=0.05, max_retries=0))
    with client, pytest.raises(BatchError, match="did not answer in time"):
        client.download_file(stored[0], Target().open)


def test_reading_goes_on_over_one_connection(client: BatchClient, stored: tuple[str, bytes]) -> None:
    """Calls after a download of any size find a connection that works."""
    file_id, content = stored
    for _ in range(3):
        target = Target()
        client.download_file(file_id, target.open, expected_bytes=len(content))
        assert target.content == content
        assert client.get_file(file_id).bytes == len(content)


def test_a_key_that_is_missing_or_wrong_is_told() -> None:
    """As the server says it, in our words."""
    with SandboxServer(api_key="right-key", seed=1) as server:
        for password, text in ((None, "wants an API key"), ("wrong-key", "refused the key")):
            settings = ServiceSettings.from_parts(host=server.url, password=password)
            with BatchClient(settings) as client, pytest.raises(AuthenticationError, match=text) as caught:
                client.get_batch("b")
            assert "wrong-key" not in str(caught.value)
        with BatchClient(ServiceSettings.from_parts(host=server.url, password="right-key")) as client:
            assert client.list_batch_page().items == ()


@pytest.mark.parametrize("name", ["bad name", "bad:name", ""])
def test_an_impossible_header_is_a_wrong_connection(server: SandboxServer, name: str) -> None:
    """Only the sending finds it; the value is a secret and is in no text."""
    with connect(server, secret_headers={name: "hunter22"}) as client, pytest.raises(ConfigurationError) as caught:
        client.get_batch("b")

    assert "hunter22" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_the_asynchronous_client_survives_the_same(server: SandboxServer, client: BatchClient) -> None:
    """Blips are repeated, batches are found and cancelled."""
    file = client.upload_file(upload_of(lines()))
    batch_id = client.create_batch({**CREATE, "input_file_id": file.id, "metadata": {"sandbox": "stall=true"}}).id
    server.faults.add("GET /batches/{id}", "drop", times=1)
    server.faults.add("GET /batches", "status", times=1, status=503)

    async def pause(_: float) -> None:
        return None

    async def main() -> None:
        async with AsyncBatchClient(ServiceSettings(base_url=server.url), sleep=pause) as aio:
            assert (await aio.get_batch(batch_id)).id == batch_id
            assert batch_id in [found.id for found in (await aio.list_batch_page()).items]
            assert (await aio.cancel_batch(batch_id)).status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED)

    asyncio.run(main())

    assert server.calls["GET /batches/{id}"] >= 2
