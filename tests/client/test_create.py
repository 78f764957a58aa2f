"""The call that costs money: sent once, unless it is sure that nothing was created."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from airflow_batch_provider.exceptions import (
    ApiStatusError,
    AuthenticationError,
    ConfigurationError,
    RateLimitError,
    SubmissionUnknownError,
)
from tests.client.support import BATCH, KEY, FakeService, client_of, gateway, settings

BODY = {
    "input_file_id": "file-1",
    "endpoint": "/v1/embeddings",
    "completion_window": "24h",
    "metadata": {"t": "ä\u2028"},
}
LOST = httpx.RemoteProtocolError("Server disconnected without sending a response.")


def status(code: int, headers: dict[str, str] | None = None, message: str = "no") -> httpx.Response:
    return httpx.Response(code, json={"error": {"message": message}}, headers=headers)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(LOST, id="lost-answer"),
        pytest.param(httpx.ReadTimeout("late"), id="read-timeout"),
        pytest.param(httpx.WriteTimeout("late"), id="write-timeout"),
        pytest.param(httpx.ReadError("reset"), id="reset"),
        pytest.param(httpx.WriteError("reset"), id="reset-while-sending"),
        pytest.param(status(500), id="500"),
        pytest.param(status(502), id="502"),
        pytest.param(status(503, {"retry-after": "1"}), id="503"),
        pytest.param(status(408), id="408"),
        pytest.param(status(425), id="425"),
        pytest.param(status(429, {"x-portkey-retry-attempt-count": "2"}), id="429-after-gateway-retries"),
        pytest.param(status(429, {"x-portkey-retry-attempt-count": "-1"}), id="429-retries-used-up"),
        pytest.param(status(400, {"x-portkey-retry-attempt-count": "1"}), id="400-after-gateway-retries"),
        pytest.param(httpx.Response(200, content=b"<html>"), id="200-no-json"),
        pytest.param(httpx.Response(200, content=b"{}"), id="200-no-batch"),
        pytest.param(httpx.Response(200, content=b""), id="200-empty"),
        pytest.param(
            httpx.Response(500, json={"status": "failure", "message": "Something went wrong"}), id="gateway-fault"
        ),
    ],
)
def test_an_unclear_answer_is_not_asked_again(answer: Any) -> None:
    """One call, and an exception that says: may exist, look before you create."""
    service = FakeService(answer, BATCH)
    client, pauses = client_of(service)
    with pytest.raises(SubmissionUnknownError, match="It is not known whether the batch was created") as caught:
        client.create_batch(BODY)

    assert len(service.requests) == 1
    assert pauses == []
    assert caught.value.retryable
    assert caught.value.__cause__ is not None
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "pause"),
    [
        pytest.param(httpx.ConnectError("[Errno 111] Connection refused"), 0.5, id="refused"),
        pytest.param(httpx.ConnectTimeout("late"), 0.5, id="connect-timeout"),
        pytest.param(httpx.PoolTimeout("busy"), 0.5, id="no-connection-free"),
        pytest.param(httpx.ProxyError("403"), 0.5, id="proxy"),
        pytest.param(status(429), 0.5, id="429"),
        pytest.param(status(429, {"retry-after": "7"}), 8.0, id="429-with-retry-after"),
        pytest.param(status(429, {"x-portkey-retry-attempt-count": "0"}), 0.5, id="429-through-a-gateway"),
    ],
)
def test_what_surely_created_nothing_is_asked_again(answer: Any, pause: float) -> None:
    """A connection that never stood and a plain 429 cost nothing."""
    service = FakeService(answer, BATCH)
    client, pauses = client_of(service)

    assert client.create_batch(BODY).id == "batch_1"
    assert len(service.requests) == 2
    assert pauses == [pause]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(400), ApiStatusError),
        (status(401), AuthenticationError),
        (status(404), ApiStatusError),
        (status(307), ApiStatusError),
        (status(429, {"retry-after": "3600"}), RateLimitError),
    ],
)
def test_a_plain_no_is_told_as_it_is(answer: Any, kind: type[Exception]) -> None:
    """Nothing was created, and the next second changes nothing."""
    service = FakeService(answer, BATCH)
    client, _ = client_of(service)
    with pytest.raises(kind):
        client.create_batch(BODY)

    assert len(service.requests) == 1


def test_a_try_that_was_refused_does_not_excuse_the_next() -> None:
    """Each try is judged for itself: after a refused connection a lost answer is still unclear."""
    service = FakeService(httpx.ConnectError("refused"), LOST, BATCH)
    client, pauses = client_of(service)
    with pytest.raises(SubmissionUnknownError):
        client.create_batch(BODY)

    assert len(pauses) == 1


def test_the_body_is_ascii_json_with_a_type() -> None:
    """Without a type a gateway loses the body; multi-byte characters may be cut on the way."""
    service = FakeService(BATCH)
    client_of(service)[0].create_batch(BODY)
    (request,) = service.requests

    assert request.headers["content-type"] == "application/json"
    assert service.bodies[0].isascii()
    assert json.loads(service.bodies[0]) == BODY
    assert service.calls == ["POST /v1/batches"]


def test_the_gateway_does_not_repeat_it_either() -> None:
    """Its config loses ``retry`` for this call alone."""
    service = FakeService(BATCH)
    config = {"provider": "openai", "api_key": "k" * 9, "retry": {"attempts": 5}}
    client, _ = client_of(service, using=gateway(secret_config=config))
    client.create_batch(BODY)
    client.get_batch("b")

    create, get = (json.loads(request.headers["x-portkey-config"]) for request in service.requests)
    assert create == {"provider": "openai", "api_key": "k" * 9}
    assert get == config


def test_an_id_is_kept_verbatim() -> None:
    """Bedrock's create answers with an encoded ARN and no status."""
    service = FakeService({"id": "arn%3Aaws%3Ab%2Fc", "object": "batch"})

    assert client_of(service)[0].create_batch(BODY).id == "arn%3Aaws%3Ab%2Fc"


def test_a_connection_that_cannot_send_created_nothing() -> None:
    """A wrong proxy or URL is the connection's fault, not an unclear submission."""
    client, _ = client_of(FakeService(httpx.UnsupportedProtocol("x")), using=settings())
    with pytest.raises(ConfigurationError):
        client.create_batch(BODY)
