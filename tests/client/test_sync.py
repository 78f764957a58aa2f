from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiResponseError,
    ApiStatusError,
    InputError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from tests.client.support import BATCH, FILE, KEY, FakeService, client_of, gateway, settings, upload_of

OUTAGE = httpx.Response(503, json={"error": {"message": "later"}})
VERBS: list[Any] = [
    pytest.param(lambda client: client.get_batch("b"), id="get_batch"),
    pytest.param(lambda client: client.get_file("f"), id="get_file"),
    pytest.param(lambda client: client.list_batch_page().items, id="list_batch_page"),
    pytest.param(lambda client: list(client.list_files()), id="list_files"),
    pytest.param(lambda client: client.delete_file("f"), id="delete_file"),
    pytest.param(lambda client: client.cancel_batch("b"), id="cancel_batch"),
    pytest.param(lambda client: client.upload_file(upload_of(b"{}\n")), id="upload_file"),
]
GOOD = {**BATCH, "data": [BATCH]}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OUTAGE, id="503"),
        pytest.param(httpx.Response(429, headers={"retry-after": "0"}), id="429"),
        pytest.param(httpx.RemoteProtocolError("closed"), id="closed"),
        pytest.param(httpx.ReadTimeout("late"), id="late"),
        pytest.param(httpx.Response(200, content=b"<html>"), id="not-json"),
    ],
)
def test_what_may_be_repeated_is_repeated(verb: Any, answer: Any) -> None:
    """All calls but the paid one survive a blip."""
    service = FakeService(answer, answer, GOOD)
    client, pauses = client_of(service)

    assert verb(client)
    assert len(service.requests) == 3
    assert len(pauses) == 2


@pytest.mark.parametrize("verb", VERBS)
def test_refusals_are_not_repeated(verb: Any) -> None:
    """Asking again changes nothing."""
    service = FakeService(httpx.Response(404, json={"error": {"message": "No such thing"}}))
    client, pauses = client_of(service)
    with pytest.raises(NotFoundError, match="No such thing"):
        verb(client)

    assert pauses == []


def test_tries_end_with_the_last_error(caplog: pytest.LogCaptureFixture) -> None:
    """As often as the connection says; each pause is one line of the log."""
    client, pauses = client_of(FakeService(OUTAGE), using=settings(extra={"max_retries": 3}))
    with caplog.at_level(logging.WARNING), pytest.raises(ServerError):
        client.get_batch("b")

    assert pauses == [0.5, 1.0, 2.0]
    assert caplog.messages[0] == "The service failed on batch b (503: later). Trying again in 0.5 s (1 of 3)."


def test_a_long_retry_after_is_for_others() -> None:
    """A worker does not sleep an hour in a client."""
    client, pauses = client_of(FakeService(httpx.Response(429, headers={"retry-after": "3600"})))
    with pytest.raises(RateLimitError) as caught:
        client.get_batch("b")

    assert caught.value.retry_after == 3600
    assert pauses == []


def test_redirects_are_not_followed() -> None:
    """The key never reaches another host; the person is told about the base URL."""
    service = FakeService(httpx.Response(308, headers={"location": "http://evil.test/v1/batches/b"}))
    with pytest.raises(ApiStatusError, match="redirect"):
        client_of(service)[0].get_batch("b")

    assert [request.url.host for request in service.requests] == ["service.test"]


def test_every_call_carries_the_key_and_a_name() -> None:
    """The bearer token, our name, and no compression that would hide sizes."""
    service = FakeService(BATCH)
    client_of(service)[0].get_batch("b")
    headers = service.requests[0].headers

    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"] == "airflow-batch-provider"
    assert headers["accept-encoding"] == "identity"
    assert "content-type" not in headers


@pytest.mark.parametrize("remote_id", ["arn%3Aaws%3Abedrock%3Aus%2Fx", "s3%3A%2F%2Fbucket%2Fkey", "file-a_B.1"])
def test_ids_go_back_verbatim(remote_id: str) -> None:
    """Encoding an encoded id again gives another id."""
    service = FakeService(BATCH)
    client, _ = client_of(service)
    client.get_batch(remote_id)
    client.cancel_batch(remote_id)
    client.delete_file(remote_id)

    assert service.calls == [
        f"GET /v1/batches/{remote_id}",
        f"POST /v1/batches/{remote_id}/cancel",
        f"DELETE /v1/files/{remote_id}",
    ]


@pytest.mark.parametrize(
    "answer", [{}, {"status": "success", "object": "batch", "id": "arn:aws:x"}, {"status": "success"}], ids=str
)
def test_a_cancel_that_says_nothing_is_asked_about(answer: Any) -> None:
    """What counts is the batch itself."""
    service = FakeService(answer, {"id": "arn:aws:x", "object": "batch", "status": "stopping"})
    found = client_of(service)[0].cancel_batch("x")

    assert (found.id, found.status) == ("x", BatchStatus.CANCELLING)
    assert service.calls == ["POST /v1/batches/x/cancel", "GET /v1/batches/x"]


def test_deleting_may_be_denied() -> None:
    """False is the service's own word."""
    assert client_of(FakeService({"deleted": False}))[0].delete_file("f") is False
    assert client_of(FakeService({"deleted": True}))[0].delete_file("f") is True


def test_a_broken_upload_starts_again_from_the_beginning() -> None:
    """The second try sends the whole file."""
    content = b'{"a": 1}\n' * 50_000
    service = FakeService(httpx.WriteError("reset"), OUTAGE, FILE)
    client, _ = client_of(service)

    assert client.upload_file(upload_of(content)).id == "file-1"
    assert [content in body for body in service.bodies] == [True, True, True]
    assert {int(request.headers["content-length"]) for request in service.requests} == set(map(len, service.bodies))


def test_a_file_that_changed_is_not_sent_again() -> None:
    """Wrong input is not an outage."""
    from dataclasses import replace

    upload = replace(upload_of(b"x" * 10), size=11)
    client, pauses = client_of(FakeService(FILE))
    with pytest.raises(InputError):
        client.upload_file(upload)

    assert pauses == []


def test_uploads_through_a_gateway_carry_what_it_needs() -> None:
    """The purpose as a header, no gateway timeout, no retries; other calls keep all that."""
    config = {"provider": "openai", "api_key": "k" * 9, "retry": {"attempts": 2}, "request_timeout": 5}
    service = FakeService(FILE)
    client, _ = client_of(service, using=gateway(request_timeout_ms=9000, secret_config=config))
    client.upload_file(upload_of(b"{}\n", purpose="fine-tune"))
    client.get_file("f")
    upload, get = (request.headers for request in service.requests)

    assert upload["x-portkey-file-purpose"] == "fine-tune"
    assert upload["content-type"].startswith("multipart/form-data; boundary=")
    assert "x-portkey-request-timeout" not in upload
    assert json.loads(upload["x-portkey-config"]) == {"provider": "openai", "api_key": "k" * 9}
    assert get["x-portkey-request-timeout"] == "9000"
    assert json.loads(get["x-portkey-config"]) == config
    assert "x-portkey-file-purpose" not in get


def test_a_plain_service_gets_no_gateway_headers() -> None:
    """Nothing of Portkey where there is none."""
    service = FakeService(FILE)
    client_of(service)[0].upload_file(upload_of(b"{}\n"))

    assert [name for name in service.requests[0].headers if name.startswith("x-portkey")] == []


def test_uploads_wait_longer_for_their_answer() -> None:
    """A service may check a large file before it answers."""
    service = FakeService(FILE)
    client, _ = client_of(service, using=settings(extra={"upload_timeout": 700, "timeout": 5}))
    client.upload_file(upload_of(b"{}\n"))
    client.get_file("f")

    assert [request.extensions["timeout"]["read"] for request in service.requests] == [700, 5]


def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by us, not by the service."""
    from airflow_batch_provider.client import http

    monkeypatch.setattr(http, "MAX_JSON_BYTES", 1_000)
    client, _ = client_of(FakeService({**BATCH, "x": "y" * 2_000}), using=settings(extra={"max_retries": 0}))
    with pytest.raises(ApiResponseError, match="larger than 1,000 bytes"):
        client.get_batch("b")


def test_a_client_closes() -> None:
    """Connections end with the block."""
    with BatchClient(settings(), transport=httpx.MockTransport(FakeService(BATCH))) as client:
        assert client.get_batch("b").id == "b"
    with pytest.raises(RuntimeError, match="closed"):
        client.get_batch("b")


def test_silence_is_a_connection_error() -> None:
    """No answer at all, after all tries."""
    client, pauses = client_of(FakeService(httpx.ConnectError("refused")))
    with pytest.raises(ApiConnectionError, match=r"http://service.test does not answer \(connection refused\)"):
        client.get_batch("b")

    assert len(pauses) == 5
