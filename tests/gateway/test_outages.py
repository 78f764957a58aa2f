"""Services that are down, hang up or are slow, and providers that cannot run batches."""

from __future__ import annotations

import json

import pytest

from airflow_batch_provider.client import errors
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    GatewayError,
    ServerError,
)
from tests.gateway.calls import CALLS, cause_of, every_call, refused
from tests.gateway.support import Connect, small_upload
from tests.gateway.upstream import FILE, Answer, Upstream
from tests.servers.process import free_port

# A service that is not there


@every_call
def test_a_service_that_is_down_is_named_as_such(connect: Connect, name: str) -> None:
    """The gateway's 500 becomes a sentence with the address that refused, and passes."""
    port = free_port()
    error = cause_of(refused(connect(f"http://127.0.0.1:{port}/v1"), name), name)
    assert type(error) is ServerError
    assert (error.status_code, error.code) == (500, errors.UPSTREAM_DOWN)
    assert f"The gateway got no answer from the service behind it ({_subject(name)}" in str(error)
    assert f"500: connect ECONNREFUSED 127.0.0.1:{port})." in str(error)


def _subject(name: str) -> str:
    return {
        "get": "batch b",
        "cancel": "batch b",
        "list": "the list",
        "create": "the new",
        "delete": "file f",
        "upload": "the upload of in.jsonl",
    }[name]


@every_call
def test_a_service_that_hangs_up_is_asked_again_except_for_money(
    connect: Connect, upstream: Upstream, pauses: list[float], name: str
) -> None:
    """A call that broke off is repeated; the paid one is not, because it may have worked."""
    upstream.on(CALLS[name][0], Answer(sent=0))
    error = cause_of(refused(connect(upstream.url, max_retries=2), name), name)
    assert error.code == errors.UPSTREAM_DOWN
    tries = 1 if name == "create" else 3
    assert len(upstream.seen) == tries
    assert len(pauses) == tries - 1


@pytest.mark.parametrize("name", ["get", "list", "create"])
def test_a_gateway_timeout_is_the_services_fault(connect: Connect, upstream: Upstream, name: str) -> None:
    """``request_timeout_ms`` ends a slow call with 408, which passes; the paid call is then unknown."""
    upstream.on(CALLS[name][0], Answer(wait=5))
    error = cause_of(refused(connect(upstream.url, request_timeout_ms=100), name), name)
    assert type(error) is ServerError
    assert error.status_code == 408
    assert "timeout sent in the request: 100ms" in str(error)


@pytest.mark.parametrize("extra", [{"request_timeout_ms": 100}, {"secret_config": '{"request_timeout": 100}'}])
def test_a_gateway_timeout_does_not_cut_uploads(connect: Connect, upstream: Upstream, extra: dict[str, object]) -> None:
    """Neither the header nor the config's own timeout reaches the gateway with an upload."""
    upstream.on("POST /files", Answer(200, json.dumps(FILE).encode(), wait=0.3))
    assert connect(upstream.url, **extra).upload_file(small_upload()).id == "file-1"


# Providers without batches


def test_a_provider_without_batches_is_named(connect: Connect, upstream: Upstream) -> None:
    """The gateway refuses to create with it: final, sure that nothing was created, nothing sent to anybody."""
    error = refused(connect(upstream.url, provider="groq"), "create")
    assert type(error) is GatewayError
    assert (error.status_code, error.code, error.retryable) == (500, errors.UNSUPPORTED, False)
    assert "createBatch is not supported by groq" in str(error)
    upload = refused(connect(upstream.url, provider="groq"), "upload")
    assert type(upload) is ServerError
    assert "the provider cannot run batches" in str(upload)
    assert upstream.seen == []


def test_a_service_that_says_not_supported_is_not_taken_for_the_gateway(connect: Connect, upstream: Upstream) -> None:
    """The same words in the service's own error keep the service's code."""
    upstream.on("POST /batches", Answer.refusal(400, "Model x is not supported by the batch API.", "bad_model"))
    error = refused(connect(upstream.url), "create")
    assert type(error) is ApiStatusError
    assert error.code == "bad_model"
    assert str(error).startswith("The service refused ")
