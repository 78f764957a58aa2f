from __future__ import annotations

import pytest

from airflow_batch_provider.client.retries import may_have_worked, seconds_before_retry
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiError,
    ApiResponseError,
    ApiStatusError,
    AuthenticationError,
    DownloadError,
    GatewayError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

# error, sent again when that does no harm, sent again when it costs money, may have worked
TABLE = [
    pytest.param(ApiConnectionError("refused", True), True, True, False, id="never-sent"),
    pytest.param(ApiConnectionError("broken off"), True, False, True, id="broken-off"),
    pytest.param(ApiResponseError("no JSON"), True, False, True, id="not-json"),
    pytest.param(DownloadError("short"), True, False, True, id="short-download"),
    pytest.param(RateLimitError("slow", 429), True, True, False, id="429"),
    pytest.param(RateLimitError("slow", 429, gateway_retries=True), True, False, True, id="429-after-gateway-retries"),
    pytest.param(ServerError("fault", 500), True, False, True, id="500"),
    pytest.param(ServerError("fault", 503), True, False, True, id="503"),
    pytest.param(ServerError("late", 408), True, False, True, id="408"),
    pytest.param(ServerError("early", 425), True, False, True, id="425"),
    pytest.param(GatewayError("no model", 500), False, False, True, id="gateway-fault"),
    pytest.param(
        GatewayError("no", 500, "gateway_unsupported_by_provider"), False, False, False, id="gateway-unsupported"
    ),
    pytest.param(AuthenticationError("key", 401), False, False, False, id="401"),
    pytest.param(NotFoundError("gone", 404), False, False, False, id="404"),
    pytest.param(ApiStatusError("bad", 400), False, False, False, id="400"),
    pytest.param(ApiStatusError("moved", 302), False, False, False, id="302"),
    pytest.param(ApiStatusError("bad", 400, gateway_retries=True), False, False, True, id="400-after-gateway-retries"),
]


def delay(error: ApiError, *, attempt: int = 1, is_repeatable: bool = True, jitter: float = 1.0) -> float | None:
    return seconds_before_retry(error, attempt=attempt, max_retries=5, is_repeatable=is_repeatable, jitter=jitter)


@pytest.mark.parametrize(("error", "harmless", "paid", "_worked"), TABLE)
def test_what_is_sent_again(error: ApiError, harmless: bool, paid: bool, _worked: bool) -> None:
    """A paid call goes again only when it is sure that the first one did nothing."""
    assert (delay(error) is not None) is harmless
    assert (delay(error, is_repeatable=False) is not None) is paid


@pytest.mark.parametrize(("error", "_harmless", "_paid", "worked"), TABLE)
def test_what_may_have_worked(error: ApiError, _harmless: bool, _paid: bool, worked: bool) -> None:
    """Only a connection that never stood and a plain no are sure."""
    assert may_have_worked(error) is worked


def test_tries_are_bounded() -> None:
    """After max_retries the error goes to the caller."""
    error = ServerError("fault", 500)

    assert [delay(error, attempt=attempt) is None for attempt in (5, 6)] == [False, True]
    assert seconds_before_retry(error, attempt=1, max_retries=0, is_repeatable=True, jitter=0) is None


def test_pauses_double_up_to_half_a_minute() -> None:
    """Half a second, one, two, ... and never over thirty, however high the number."""
    error = ServerError("fault", 500)
    pauses = [
        seconds_before_retry(error, attempt=n, max_retries=10_000, is_repeatable=True, jitter=1.0)
        for n in (1, 2, 3, 6, 7, 9_999)
    ]

    assert pauses == [0.5, 1, 2, 16, 30, 30]


def test_jitter_halves_at_most() -> None:
    """Clients that failed together come back apart."""
    assert delay(ServerError("fault", 500), jitter=0.0) == 0.25


@pytest.mark.parametrize(
    ("retry_after", "expected"), [(0.0, 0.0), (0.5, 1.0), (7.0, 8.0), (120.0, 121.0), (120.5, None)]
)
def test_retry_after_is_obeyed_or_handed_on(retry_after: float, expected: float | None) -> None:
    """Up to two minutes a worker waits, never less than asked; longer pauses are for whoever holds no worker."""
    error = RateLimitError("slow", 429, retry_after=retry_after)

    assert delay(error) == expected
    if expected is not None:
        assert delay(error, jitter=0.0) == retry_after
