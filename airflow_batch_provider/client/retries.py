"""Which calls are sent again, and when. Pure: the clients do the waiting."""

from __future__ import annotations

from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiError,
    ApiStatusError,
    DownloadError,
    GatewayError,
    RateLimitError,
)

FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
# A service that wants a longer pause gets it from whoever waits without holding a worker, not from a sleeping client.
MAX_RETRY_AFTER_SECONDS = 120.0


def seconds_before_retry(
    error: ApiError, *, attempt: int, max_retries: int, is_repeatable: bool, jitter: float
) -> float | None:
    """
    Decide whether to send a call again.

    :param error: Why it failed.
    :param attempt: How often it has been sent already, from 1.
    :param max_retries: How often it may be sent again.
    :param is_repeatable: True when sending it twice does no harm.
    :param jitter: Random number from 0 to 1, to spread clients that failed together.
    :returns: Seconds to wait, or None to give up.
    """
    if attempt > max_retries or not _may_repeat(error, is_repeatable=is_repeatable):
        return None
    retry_after: float | None = error.retry_after if isinstance(error, ApiStatusError) else None
    if retry_after is not None:
        return None if retry_after > MAX_RETRY_AFTER_SECONDS else retry_after + jitter * min(retry_after, 1.0)
    return min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 10)) * (0.5 + jitter / 2)


def _may_repeat(error: ApiError, *, is_repeatable: bool) -> bool:
    if not error.retryable:
        return False
    if isinstance(error, DownloadError):
        return is_repeatable
    return is_repeatable or not may_have_worked(error)


def may_have_worked(error: ApiError) -> bool:
    """
    Say whether a failed call may have done its work all the same.

    Sure that nothing was created: the connection never stood, or a 4xx said no (but a gateway that repeats calls by
    itself may show the last of several answers). Anything else is uncertain: a 5xx may come after the work.

    :param error: Why the call failed.
    """
    if isinstance(error, ApiConnectionError):
        return not error.never_sent
    if isinstance(error, GatewayError):
        return error.code != "gateway_unsupported_by_provider"
    if isinstance(error, RateLimitError):
        return error.gateway_retries
    if isinstance(error, ApiStatusError):
        return error.status_code >= 500 or error.status_code in (408, 425) or error.gateway_retries
    return True
