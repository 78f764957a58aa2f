"""Whether a finished run is good news, by its summary and the user's ``fail_on``."""

from __future__ import annotations

from typing import Any, Literal

from airflow_batch_provider.exceptions import ConfigurationError, PartialFailureError

RunFailOn = Literal["any", "all", "never"] | float


def check_fail_on_share(fail_on: object) -> None:
    """
    Refuse an unknown policy, before anything is sent.

    :param fail_on: The parameter as the user wrote it.
    :raises ConfigurationError: It is neither a known word nor a share from 0 to 1.
    """
    is_share = isinstance(fail_on, int | float) and not isinstance(fail_on, bool) and 0 <= fail_on <= 1
    if fail_on not in ("any", "all", "never") and not is_share:
        raise ConfigurationError(f'`fail_on` must be "any", "all", "never" or a share from 0 to 1, not {fail_on!r}.')


def verdict(summary: dict[str, Any], fail_on: RunFailOn) -> PartialFailureError | None:
    """
    Judge a finished run.

    :param summary: Its summary.
    :param fail_on: See :class:`~airflow_batch_provider.operators.batch.BatchInferenceOperator`.
    :returns: The exception to raise, or None.
    """
    requests, succeeded = summary["requests"], summary["outcomes"]["succeeded"]
    bad = requests - succeeded
    match fail_on:
        case "never":
            is_bad = False
        case "any":
            is_bad = bad > 0
        case "all":
            is_bad = succeeded == 0
        case share:
            is_bad = bad > float(share) * requests
    if not is_bad:
        return None
    why = ", ".join(f"{count:,}x {reason}" for reason, count in list(summary["reasons"].items())[:3])
    return PartialFailureError(
        f"{bad:,} of {requests:,} requests did not succeed ({why}), and `fail_on` is {fail_on!r}. All rows are in "
        f"{summary['results']}; the requests to send again are in {summary['failures']}, ready to be an input. Clearing this "
        'task repeats nothing and costs nothing; if_finished="restart" would send, and pay, everything again.',
        summary,
    )
