"""Whether ended batches are good news: one policy for operators and sensors. Outcomes are told apart by type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import (
    BatchCancelledError,
    BatchExpiredError,
    BatchFailedError,
    BatchNotEndedError,
    ConfigurationError,
    JobError,
    RequestsFailedError,
)

FailOn = Literal["any", "all", "never"]

# Refusals that pass: the service's queue is full or its limits are reached for now, and nothing ran.
_PASSING_CODES = frozenset({"token_limit_exceeded", "rate_limit_exceeded", "request_limit_exceeded", "server_error"})


_NOTHING_RAN = "Nothing ran and nothing is billed."


def check_fail_on(fail_on: str) -> None:
    """
    Refuse an unknown policy.

    :param fail_on: The parameter as the user wrote it.
    :raises ConfigurationError: It is not one of the known words.
    """
    if fail_on not in get_args(FailOn):
        raise ConfigurationError(f'`fail_on` must be "any", "all" or "never", not {fail_on!r}.')


def judge(batches: Iterable[Batch], fail_on: FailOn) -> JobError | None:
    """
    Judge batches that have ended.

    :param batches: The batches.
    :param fail_on: ``"all"``: bad when a batch did not complete or none of its requests succeeded; ``"any"``: bad
        also when single requests failed; ``"never"``: whatever the end was, it is for the caller to read.
    :returns: The worst finding, or None.
    """
    if fail_on == "never":
        return None
    batches = list(batches)
    findings = [error for batch in batches if (error := _judge_one(batch, fail_on))]
    if len(findings) <= 1:
        return findings[0] if findings else None
    worst = max(findings, key=lambda error: (_ORDER.index(type(error)), not error.retryable))
    others = len(findings) - 1
    ids = tuple(batch_id for error in findings for batch_id in error.batch_ids)
    merged = type(worst)(f"{worst} {others} more of {len(batches)} batches did not end well either.", ids)
    merged.retryable = all(error.retryable for error in findings)
    return merged


def _judge_one(batch: Batch, fail_on: FailOn) -> JobError | None:
    match batch.status:
        case BatchStatus.COMPLETED:
            return _judge_completed(batch, fail_on)
        case BatchStatus.FAILED:
            return failed_error(batch)
        case BatchStatus.EXPIRED:
            return BatchExpiredError(
                f"Batch {batch.id} expired: its completion window passed first ({_counted(batch)}). {_kept(batch)} "
                "A new batch pays for all requests again; to send only the open ones, use the rows of the error file.",
                (batch.id,),
            )
        case BatchStatus.CANCELLED:
            return BatchCancelledError(
                f"Batch {batch.id} was cancelled ({_counted(batch)}). {_kept(batch)} Clear the task that created it to "
                "make a new one, which is billed anew.",
                (batch.id,),
            )
        case _:
            return BatchNotEndedError(
                f"Batch {batch.id} has not ended ({batch.raw_status or 'no status'}).", (batch.id,)
            )


def not_ended_error(batch: Batch) -> BatchNotEndedError:
    """
    Build the exception for a batch whose results were asked for too early.

    :param batch: The batch.
    """
    return BatchNotEndedError(
        f"Batch {batch.id} has not ended (it is {batch.raw_status or 'not telling its status'}), so its results are "
        "not complete. Wait for it with BatchSensor first.",
        (batch.id,),
    )


def failed_error(batch: Batch) -> BatchFailedError:
    """
    Build the exception for a batch that the service refused.

    :param batch: The batch.
    """
    # The same refusal of every line is one reason, shown with its first line.
    reasons = list({(problem.code, problem.message): problem for problem in reversed(batch.problems)}.values())[::-1]
    shown = "; ".join(map(str, reasons[:3])).rstrip(".") or "the service gives no reason"
    hidden = len(batch.problems) - len(reasons[:3])
    more = f" (and {hidden} more)" if hidden else ""
    passes = any(problem.code in _PASSING_CODES for problem in batch.problems)
    remedy = (
        "The service's limits are reached for now; a retry later may be accepted."
        if passes
        else "Fix the input; a retry with the same input will fail the same way."
    )
    has_run = batch.counts is not None and batch.counts.done > 0
    bill = f"It had begun ({_counted(batch)}), and what ran may be billed." if has_run else _NOTHING_RAN
    return BatchFailedError(
        f"Batch {batch.id} failed at the service: {shown}{more}. {bill} {remedy}",
        (batch.id,),
        passes,
    )


def _judge_completed(batch: Batch, fail_on: FailOn) -> RequestsFailedError | None:
    counts = batch.counts
    # Counts can be wrong, files cannot: errors without any output mean that nothing succeeded.
    none_succeeded = batch.output_file_id is None and batch.error_file_id is not None
    if counts and counts.total and counts.failed:
        none_succeeded = none_succeeded or counts.completed == 0
    if none_succeeded:
        return RequestsFailedError(
            f"Batch {batch.id} completed, but not one of its requests succeeded ({_counted(batch)}). The reasons are "
            f"in its error file {batch.error_file_id or '(none given)'}: DownloadBatchResultsOperator fetches it.",
            (batch.id,),
        )
    # Some services name an (empty) error file for every clean batch, so the counts have the word where there are any.
    has_errors = counts.failed > 0 if counts and (counts.total or counts.failed) else batch.error_file_id is not None
    if fail_on == "any" and has_errors:
        return RequestsFailedError(
            f"Batch {batch.id} completed, but some of its requests failed ({_counted(batch)}), and `fail_on` is "
            f'"any". The reasons are in its error file {batch.error_file_id or "(none given)"}.',
            (batch.id,),
        )
    return None


def _counted(batch: Batch) -> str:
    counts = batch.counts
    if counts is None or not counts.total:
        return "the service gives no counts"
    return f"{counts.completed:,} of {counts.total:,} requests succeeded, {counts.failed:,} failed"


def _kept(batch: Batch) -> str:
    if batch.output_file_id:
        return f"What was finished is kept and billed, in file {batch.output_file_id} (DownloadBatchResultsOperator)."
    return "It has no output file."


_ORDER = [RequestsFailedError, BatchExpiredError, BatchCancelledError, BatchNotEndedError, BatchFailedError]
