from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_batch_provider.sandbox import SandboxServer, Settings, create_app
from tests.sandbox.support import ShortClient, rows

CONTENT_ROUTE = "GET /files/{id}/content"
CONTENT = rows(3_000)


@pytest.fixture
def download(client: ShortClient) -> Callable[[], httpx.Response]:
    file_id = client.upload(CONTENT)
    return lambda: client.http.get(f"/files/{file_id}/content")


Download = Callable[[], httpx.Response]


@pytest.fixture(autouse=True)
def quiet_server(caplog: pytest.LogCaptureFixture) -> Any:
    """Whatever goes wrong on purpose, the server itself never logs an error."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_status_answers_without_doing_the_work(server: SandboxServer, client: ShortClient) -> None:
    """The client gets the status, body and Retry-After it was promised; no file is made."""
    server.faults.add("POST /files", "status", status=429, retry_after=7, times=1)
    answer = client.post_file(rows(1))

    assert (answer.status_code, answer.headers["retry-after"], server.files()) == (429, "7", [])
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("body", "text", "content_type"),
    [
        ("plain words", "plain words", "text/plain; charset=utf-8"),
        ({"detail": "x"}, '{"detail":"x"}', "application/json"),
    ],
)
def test_status_can_have_any_body(
    server: SandboxServer, client: ShortClient, body: object, text: str, content_type: str
) -> None:
    """Text is sent as text, everything else as JSON."""
    server.faults.add("GET /files", "status", body=body)
    answer = client.http.get("/files")

    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (500, text, content_type)


def test_html_answers_a_page(server: SandboxServer, client: ShortClient) -> None:
    """As a proxy in front of a service that is down would."""
    server.faults.add("GET /batches", "html", status=502)
    answer = client.http.get("/batches")

    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")


def test_empty_answers_nothing(server: SandboxServer, client: ShortClient) -> None:
    """A status, no body, no content type."""
    server.faults.add("GET /batches", "empty", status=408)
    answer = client.http.get("/batches")

    assert (answer.status_code, answer.content, "content-type" in answer.headers) == (408, b"", False)


def test_drop_cuts_before_the_work(server: SandboxServer, client: ShortClient) -> None:
    """No answer and no file; the next request works."""
    server.faults.add("POST /files", "drop", times=1)

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        client.post_file(CONTENT)

    assert server.files() == []
    assert client.post_file(CONTENT).status_code == 200


def test_lost_answer_cuts_after_the_work(server: SandboxServer, client: ShortClient) -> None:
    """No answer, but the batch exists: the case in which a blind retry pays twice."""
    file_id = client.upload(rows(1))
    server.faults.add("POST /batches", "lost_answer", times=1)

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        client.post_batch(input_file_id=file_id, metadata={"run": "7"})

    assert [batch["metadata"] for batch in server.batches()] == [{"run": "7"}]


def test_lost_answer_can_be_an_error(server: SandboxServer, client: ShortClient) -> None:
    """The work is done and the answer is 500."""
    server.faults.add("POST /files", "lost_answer", status=500)

    assert client.post_file(rows(1)).status_code == 500
    assert len(server.files()) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_truncate_is_visible(server: SandboxServer, download: Download, chunked: bool) -> None:
    """The body ends early, and HTTP shows it, with a length or without."""
    server.faults.add(CONTENT_ROUTE, "truncate", at=0.9, chunked=chunked, times=1)

    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read" if chunked else "received"):
        download()

    assert download().content == CONTENT


@pytest.mark.parametrize("at", [0.0, 0.25, 1.0])
def test_truncate_can_be_silent(server: SandboxServer, download: Download, at: float) -> None:
    """Nothing in HTTP shows that the body is cut."""
    server.faults.add(CONTENT_ROUTE, "truncate", at=at, silent=True)
    answer = download()

    assert answer.content == CONTENT[: int(len(CONTENT) * at)]
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_corrupt_flips_bytes_in_the_middle(server: SandboxServer, download: Download) -> None:
    """The length is right, as many bytes as asked for are wrong, and they are in the middle."""
    server.faults.add(CONTENT_ROUTE, "corrupt", count=3)
    got = download().content
    wrong = [place for place, (is_, should) in enumerate(zip(got, CONTENT, strict=True)) if is_ != should]

    assert len(wrong) == 3
    assert abs(wrong[0] - len(CONTENT) // 2) < 5


def test_latency_delays_and_then_answers(server: SandboxServer, download: Download) -> None:
    """The answer itself is as it should be."""
    server.faults.add(CONTENT_ROUTE, "latency", seconds=0.05)
    answer = download()

    assert answer.content == CONTENT
    assert answer.elapsed.total_seconds() >= 0.05


def test_faults_add_up(server: SandboxServer, download: Download) -> None:
    """Several faults may hit one request."""
    server.faults.add(CONTENT_ROUTE, "latency", seconds=0)
    server.faults.add(CONTENT_ROUTE, "corrupt")
    server.faults.add(CONTENT_ROUTE, "truncate", silent=True, at=0.1)

    assert len(download().content) == len(CONTENT) // 10


def test_without_a_server_a_drop_is_an_exception() -> None:
    """An application called directly has no connection to cut."""

    async def call() -> None:
        app = create_app(Settings())
        app.faults.add("GET /files", "drop")
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox") as http:
                await http.get("/v1/files")
        finally:
            app.close()

    with pytest.raises(ConnectionResetError):
        asyncio.run(call())
