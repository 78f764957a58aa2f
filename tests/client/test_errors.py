from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_batch_provider.client import errors, wording
from airflow_batch_provider.client.errors import error_from_answer, read_refusal, retry_after_seconds
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    AuthenticationError,
    GatewayError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from tests.client.support import KEY, settings

GATEWAY_FAULT = {"x-portkey-gateway-exception": "true"}


def error_for(status: int, body: Any = b"", headers: dict[str, str] | None = None, **parts: Any) -> ApiStatusError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_answer(status, headers or {}, raw, "batch b1", settings(**parts))


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, ApiStatusError, False), (400, ApiStatusError, False), (401, AuthenticationError, False),
        (403, AuthenticationError, False), (404, NotFoundError, False), (408, ServerError, True),
        (409, ApiStatusError, False), (410, NotFoundError, False), (413, ApiStatusError, False),
        (422, ApiStatusError, False), (425, ServerError, True), (429, RateLimitError, True),
        (431, ApiStatusError, False), (500, ServerError, True), (502, ServerError, True), (503, ServerError, True),
        (504, ServerError, True), (529, ServerError, True),
    ],
)  # fmt: skip
def test_each_status_has_its_class(status: int, kind: type[ApiStatusError], retryable: bool) -> None:
    """The class says whose move it is, and keeps the status."""
    error = error_for(status, {"error": {"message": "no", "code": "c"}}, {"x-request-id": "req_1"})

    assert type(error) is kind
    assert error.retryable is retryable
    assert (error.status_code, error.request_id) == (status, "req_1")


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        pytest.param({"error": {"message": "no", "type": "t", "param": None, "code": "c"}}, "no", "c", id="openai"),
        pytest.param({"error": {"message": "no", "type": "t", "code": None}}, "no", "t", id="type-for-a-code"),
        pytest.param({"error": {"message": "no"}}, "no", None, id="message-alone"),
        pytest.param({"error": {"message": "no", "code": 400}}, "no", "400", id="code-is-a-number"),
        pytest.param({"error": {"message": "no", "code": {"a": 1}}}, "no", None, id="code-is-an-object"),
        pytest.param({"error": "no"}, "no", None, id="error-is-text"),
        pytest.param({"status": "failure", "message": "no"}, "no", None, id="gateway"),
        pytest.param({"html-message": "<html><h1>no</h1></html>"}, "no", None, id="gateway-wrapped"),
        pytest.param({"message": "no", "ok": False}, "no", None, id="gateway-route"),
        pytest.param({"detail": "no"}, "no", None, id="fastapi"),
        pytest.param({"detail": [{"loc": ["body"], "msg": "no", "input": "PROMPT"}]}, "no", None, id="fastapi-list"),
        pytest.param(b"no", "no", None, id="text"),
        pytest.param(b"<html><style>a {}</style><body>no</body></html>", "no", None, id="html"),
        pytest.param(b'"no"', "no", None, id="json-text"),
        pytest.param(b"\xff no", "\ufffd no", None, id="not-utf8"),
    ],
)
def test_every_family_is_read(body: Any, message: str, code: str | None) -> None:
    """The sentence and the code are found wherever a service or gateway puts them."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = read_refusal(400, {}, raw)

    assert (found.message, found.code) == (message, code)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"5", b'{"error": {}}', b'{"error": null, "message": ""}']
)
def test_an_empty_answer_says_so(body: bytes) -> None:
    """Nothing is made up; the well-known empty answers are explained."""
    assert read_refusal(400, {}, body).message == "no text"
    assert "took over 300 s" in read_refusal(408, {}, body).message
    assert read_refusal(413, {}, body).message == "the body is too large"
    assert "16 KiB" in read_refusal(431, {}, body).message


@pytest.mark.parametrize(
    "message",
    [
        pytest.param('Invalid line: {"custom_id": "a", "body": "PROMPT"}', id="object"),
        pytest.param('Bad input ["PROMPT"]', id="list"),
        pytest.param("Please fix them: \n failing line: PROMPT\n failing chunk: PROMPT", id="bedrock-line"),
        pytest.param("x" * 300 + " PROMPT", id="far-behind"),
    ],
)
def test_quoted_requests_are_cut(message: str) -> None:
    """Prompts stay out of logs, also when the service puts them into its error."""
    error = error_for(500, {"error": {"message": message}})

    assert "PROMPT" not in repr(error)
    assert len(error.said) <= wording.MAX_MESSAGE


def test_a_text_that_only_quotes_is_not_called_empty() -> None:
    """A reader should know that there was more, and why it is not here."""
    error = error_for(400, {"error": {"message": "{'msg': 'PROMPT'}"}})

    assert "its text is not shown, because it may quote requests" in str(error)


def test_secrets_are_wiped_before_the_text_is_cut() -> None:
    """Half a key at the end of a long text is a leak that no later search finds."""
    for start in range(240, 300):
        error = error_for(400, {"error": {"message": "x" * start + " " + KEY, "code": KEY}})
        assert KEY[:6] not in repr(error)


def test_texts_and_codes_are_bounded() -> None:
    """A page of a megabyte becomes one line."""
    error = error_for(500, {"error": {"message": "no \n" * 300_000, "code": "c" * 10_000}})

    assert len(str(error)) < 400
    assert "\n" not in str(error)
    assert len(error.code or "") == wording.MAX_CODE


@pytest.mark.parametrize(
    "body", [b"<" * 3_000_000, b"<script>" * 300_000, b"[" * 200_000], ids=["tags", "scripts", "deep"]
)
def test_a_hostile_page_costs_no_time(body: bytes) -> None:
    """Text that is slow to take apart does not stop a worker."""
    began = time.monotonic()
    error_for(502, body)

    assert time.monotonic() - began < 5


def test_half_a_surrogate_pair_can_be_logged() -> None:
    """Every text of ours can be encoded."""
    assert str(error_for(400, b'{"error": {"message": "a \\ud800 b"}}')).encode()


def test_redirects_name_the_remedy() -> None:
    """The key goes nowhere else, and the person is told where to write the final URL."""
    assert "redirect (302), which is not followed" in str(error_for(302))


def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    """The remedy differs: fill the field, or correct it."""
    body = {"error": {"message": "Incorrect API key provided"}}

    assert str(error_for(401, body)) == (
        "The service refused the key (401: Incorrect API key provided). The key is in the connection's password field."
    )
    assert "The service wants an API key (401" in str(error_for(401, body, password=None))
    assert "refused the key (403" in str(error_for(403, body, password=None))


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Either x-portkey-config or x-portkey-provider header is required", errors.MISSING_PROVIDER),
        (400, "Invalid provider passed", errors.INVALID_PROVIDER),
        (400, "Invalid custom host", errors.INVALID_HOST),
        (400, "Invalid config passed. You need to pass a valid json", errors.INVALID_CONFIG),
        (500, "createBatch is not supported by groq", errors.UNSUPPORTED),
    ],
)
def test_the_gateways_sentences_become_codes(status: int, message: str, code: str) -> None:
    """Others choose by code; this is the only place that reads the text."""
    error = error_for(status, {"status": "failure", "message": message}, GATEWAY_FAULT if status == 500 else {})

    assert error.code == code
    assert isinstance(error, GatewayError) is (status == 500)


def test_a_config_that_the_gateway_refuses_says_what_is_wrong_in_it() -> None:
    """Its list of faults is part of the sentence."""
    faults = ["path: retry,attempts, message: Expected number", "path: , message: Invalid", 5]
    error = error_for(400, {"status": "failure", "message": "Invalid config passed", "errors": faults})

    assert error.said == "Invalid config passed: retry,attempts: Expected number: Invalid"


def test_a_route_that_the_gateway_does_not_know_is_its_own_word() -> None:
    """The base URL is wrong, not the id."""
    assert error_for(404, {"message": "Not Found", "ok": False}).code == errors.UNKNOWN_ROUTE


@pytest.mark.parametrize("prefix", ["openai error: ", ""])
@pytest.mark.parametrize(
    "message", ["The model is not supported by the Batch API", "Invalid provider passed", "fetch failed"]
)
def test_a_service_that_uses_the_gateways_words_is_not_the_gateway(prefix: str, message: str) -> None:
    """Its own code stays, and a person is not sent to the gateway's settings."""
    error = error_for(400, {"error": {"message": prefix + message, "code": "own"}, "provider": "openai"})

    assert error.code == "own"


def test_an_unreachable_service_behind_the_gateway_passes() -> None:
    """The gateway's 500 for a refused connection is an outage, worth another try."""
    text = "Message: fetch failed Cause: Error: connect ECONNREFUSED 127.0.0.1:9 Name: TypeError"
    error = error_for(500, {"html-message": text})

    assert type(error) is ServerError
    assert error.retryable
    assert error.code == errors.UPSTREAM_DOWN
    assert "ECONNREFUSED" in error.said


def test_a_gateways_own_fault_is_not_retried() -> None:
    """ "Model is required" is as true the second time."""
    body = {"status": "failure", "message": "Model is required"}

    assert type(error_for(500, body, GATEWAY_FAULT)) is GatewayError
    assert not error_for(500, body, GATEWAY_FAULT).retryable
    assert type(error_for(503, body)) is GatewayError


@pytest.mark.parametrize(("value", "repeated"), [(None, False), ("0", False), ("", False), ("1", True), ("-1", True)])
def test_a_gateway_that_repeated_the_call_is_noticed(value: str | None, repeated: bool) -> None:
    """Its last answer may hide an earlier one that worked; "-1" means that all tries were used up."""
    headers = {} if value is None else {"x-portkey-retry-attempt-count": value}

    assert error_for(429, b"", headers).gateway_retries is repeated


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="fraction"),
        pytest.param({"retry-after": "-3"}, 0.0, id="negative"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "1500", "retry-after": "9"}, 1.5, id="milliseconds-first"),
        pytest.param({"retry-after-ms": "x", "retry-after": "9"}, 9.0, id="bad-milliseconds"),
        pytest.param({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0, id="date"),
        pytest.param({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0.0, id="date-in-the-past"),
        pytest.param({"retry-after": DATE}, None, id="date-without-a-clock"),
        pytest.param({"retry-after": DATE, "date": "yesterday"}, None, id="date-with-a-broken-clock"),
        pytest.param({"retry-after": DATE, "date": "Wed, 21 Oct 2026 07:28:00 -0000"}, None, id="clock-without-zone"),
        pytest.param({"retry-after": "soon"}, None, id="text"),
        pytest.param({"retry-after": "nan"}, None, id="nan"),
        pytest.param({"retry-after": "inf"}, None, id="inf"),
        pytest.param({"retry-after": ""}, None, id="empty"),
        pytest.param({}, None, id="absent"),
    ],
)
def test_retry_after_of_all_spellings(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, a date against the answer's own clock, OpenAI's milliseconds; anything else is not there."""
    assert retry_after_seconds(headers) == seconds
    assert error_for(429, b"", headers).retry_after == seconds


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_account_without_money_is_no_limit_of_calls(code: str) -> None:
    """OpenAI says both with 429; only one of them passes by waiting."""
    raw = json.dumps({"error": {"code": code, "message": "You exceeded your current quota."}}).encode()
    error = error_from_answer(429, {}, raw, "the new batch", settings(), is_paid=True)
    looked = error_from_answer(429, {}, raw, "batch b1", settings())

    assert not isinstance(error, RateLimitError)
    assert not error.retryable
    assert isinstance(looked, RateLimitError), "a look costs nothing: what runs is waited for all the same"
    assert "nothing left to spend (429: You exceeded your current quota)" in str(error)
