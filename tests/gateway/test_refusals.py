"""Answers that say no, as they come out of the gateway: the class, the code, the sentence, whether a retry may help."""

from __future__ import annotations

import pytest

from airflow_batch_provider.client import errors, wording
from airflow_batch_provider.exceptions import (
    ApiResponseError,
    ApiStatusError,
    AuthenticationError,
    NotFoundError,
    RateLimitError,
    ServerError,
    SubmissionUnknownError,
)
from tests.gateway.calls import CALLS, cause_of, every_call, refused
from tests.gateway.support import KEY, Connect
from tests.gateway.upstream import Answer, Upstream

HTML = b"<html><head><title>502 Bad Gateway</title><style>p {x: 1}</style></head><body><h1>Try later</h1></body></html>"
SOMETHING_WENT_WRONG = r"\(500: Something went wrong\)\. It gives no reason; the usual ones: .* not JSON"


# What the gateway refuses by itself


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        pytest.param(
            {"provider": None, "trace_id": "t"},
            errors.MISSING_PROVIDER,
            "x-portkey-provider header is",
            id="no provider",
        ),
        pytest.param({"provider": "nope"}, errors.INVALID_PROVIDER, "Invalid provider passed", id="unknown provider"),
        pytest.param(
            {"provider": "OpenAI"}, errors.INVALID_PROVIDER, "Invalid provider passed", id="provider in capitals"
        ),
        pytest.param(
            {"custom_host": "http://10.1.2.3/v1"}, errors.INVALID_HOST, "Invalid custom host", id="private host"
        ),
        pytest.param({"secret_config": "pc-abc"}, errors.INVALID_CONFIG, "need to pass a valid json", id="config id"),
        pytest.param(
            {"secret_config": '{"provider"'}, errors.INVALID_CONFIG, "need to pass a valid json", id="config not JSON"
        ),
        pytest.param(
            {"secret_config": "{}"},
            errors.INVALID_CONFIG,
            "must have either 'provider' and 'api_key'",
            id="empty config",
        ),
        pytest.param(
            {"secret_config": "{}", "provider": None, "custom_host": None},
            errors.MISSING_PROVIDER,
            "Either x-portkey-provider needs",
            id="empty config and no provider",
        ),
        pytest.param(
            {"secret_config": {"provider": "openai", "api_key": KEY, "weight": "x"}},
            errors.INVALID_CONFIG,
            "weight: Expected number, received string",
            id="config against the schema",
        ),
        pytest.param(
            {"secret_config": {"provider": "openai", "api_key": KEY, "custom_host": "http://10.1.2.3/v1"}},
            errors.INVALID_HOST,
            "Invalid custom host",
            id="private host in the config",
        ),
    ],
)
@every_call
def test_a_gateway_that_is_told_wrong_says_what(
    connect: Connect, upstream: Upstream, name: str, extra: dict[str, object], code: str, words: str
) -> None:
    """A mistake in the connection is final, has a code of ours, and nothing reaches the service."""
    error = refused(
        connect(**{"upstream_url": upstream.url, **extra}) if "custom_host" not in extra else connect(None, **extra),
        name,
    )
    assert type(error) is ApiStatusError
    assert (error.status_code, error.code, error.retryable) == (400, code, False)
    assert words in str(error)
    assert str(error).startswith("The gateway refused ")
    assert upstream.seen == []


# What the service refuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiStatusError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, ApiStatusError),
        (413, ApiStatusError),
        (422, ApiStatusError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
    ],
)
@every_call
def test_the_services_own_words_come_through(
    connect: Connect, upstream: Upstream, name: str, status: int, kind: type[ApiStatusError]
) -> None:
    """Status, code, request id, Retry-After and message are the service's, whatever the call."""
    said = f"Not {status} today, says the holder of {KEY}."
    answer = Answer.refusal(status, said, "the_code", Retry_After="7", X_Request_Id="req_1")
    upstream.on(CALLS[name][0], answer)
    error = cause_of(refused(connect(upstream.url), name), name)
    assert type(error) is kind
    assert (error.status_code, error.code, error.retry_after, error.request_id) == (status, "the_code", 7.0, "req_1")
    assert error.said == f"Not {status} today, says the holder of ***."
    assert f"{status}: Not {status} today, says the holder of ***)" in str(error)
    assert error.retryable is (status in (429, 500, 503))
    assert len(upstream.seen) == 1


def test_a_key_at_the_edge_of_a_long_message_is_not_shown_in_part(connect: Connect, upstream: Upstream) -> None:
    """Secrets are wiped before the message is cut: half a key is still a secret."""
    upstream.on("GET /batches/b", Answer.refusal(400, "x" * (wording.MAX_MESSAGE - 12) + KEY))
    assert KEY[:6] not in str(refused(connect(upstream.url), "get"))


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        pytest.param(Answer(502, HTML, "text/html"), 502, r"502: 502 Bad Gateway Try later\)", id="html"),
        pytest.param(Answer(503, b"over loaded", "text/plain"), 503, r"503: over loaded\)", id="text"),
        pytest.param(
            Answer(503, b'{"error": {"message": "busy"}}', "text/plain"), 503, r"503: busy\)", id="json as text"
        ),
        pytest.param(Answer.of({"detail": "broken"}, 500), 500, r"500: broken\)", id="json without error"),
        pytest.param(
            Answer.of({"error": "broken"}, 500), 500, r"500: no text\)", id="error is text, which the gateway loses"
        ),
        pytest.param(Answer(502, b"", None), 502, r"502: no text\)", id="nothing"),
    ],
)
@every_call
def test_a_fault_of_the_service_is_told_in_any_shape_and_passes(
    connect: Connect, upstream: Upstream, name: str, answer: Answer, status: int, words: str
) -> None:
    """A 5xx of the service is worth a retry in whatever shape it comes; the paid call then asks before it pays."""
    upstream.on(CALLS[name][0], answer)
    error = cause_of(refused(connect(upstream.url), name), name)
    assert type(error) is ServerError
    assert error.status_code == status
    with pytest.raises(ServerError, match=words):
        raise error


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(503, b"upstream connect error"), id="503 that is not JSON"),
        pytest.param(Answer(200, b"hello"), id="200 that is not JSON"),
        pytest.param(Answer(502), id="502 that is empty"),
    ],
)
@every_call
def test_what_the_gateway_cannot_read_is_said_to_be_that(
    connect: Connect, upstream: Upstream, name: str, answer: Answer
) -> None:
    """The gateway's opaque "Something went wrong" gets its usual causes beside it; as it often passes, it may be retried."""
    upstream.on(CALLS[name][0], answer)
    error = cause_of(refused(connect(upstream.url, max_retries=3), name), name)
    assert type(error) is ServerError
    assert (error.status_code, error.code) == (500, errors.NO_REASON)
    with pytest.raises(ServerError, match=SOMETHING_WENT_WRONG):
        raise error
    assert len(upstream.seen) == (1 if name == "create" else 4)


@every_call
def test_a_page_of_text_is_not_taken_for_an_answer(connect: Connect, upstream: Upstream, name: str) -> None:
    """A web site behind the gateway answers 200; that is no success, and the sentence points to the custom host."""
    upstream.on(CALLS[name][0], Answer(200, b"<html>Welcome!</html>", "text/html"))
    error = refused(connect(upstream.url), name)
    assert isinstance(error, ApiResponseError | SubmissionUnknownError)
    assert "not JSON (text, wrapped by the gateway). Is the custom host that of the API?" in str(error)
