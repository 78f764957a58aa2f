from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.core.batches import BatchProblem
from airflow_batch_provider.core.judging import FailOn, check_fail_on, failed_error, judge, not_ended_error
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
from tests.core.support import batch

COMPLETED = BatchStatus.COMPLETED
FULL = BatchProblem("Enqueued token limit reached", "token_limit_exceeded")
WRONG = BatchProblem('"gpt-4o-mini-x" does not exist', "invalid_model", 1)


def test_the_service_s_full_stop_is_not_doubled() -> None:
    """Its words are a sentence of ours."""
    problem = BatchProblem("The model does not exist.", "invalid_model")

    assert "does not exist. Nothing ran" in str(failed_error(batch(status=BatchStatus.FAILED, problems=(problem,))))


@pytest.mark.parametrize("policy", ["any", "all", "never"])
def test_the_three_policies_are_known(policy: str) -> None:
    """What the documentation names is accepted."""
    check_fail_on(policy)


@pytest.mark.parametrize("policy", ["", "ANY", "some", None])
def test_other_policies_are_refused(policy: Any) -> None:
    """A typo must not silently become another policy."""
    with pytest.raises(ConfigurationError, match='`fail_on` must be "any", "all" or "never"'):
        check_fail_on(policy)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (BatchStatus.FAILED, BatchFailedError),
        (BatchStatus.EXPIRED, BatchExpiredError),
        (BatchStatus.CANCELLED, BatchCancelledError),
        (BatchStatus.CANCELLING, BatchNotEndedError),
        (BatchStatus.IN_PROGRESS, BatchNotEndedError),
        (BatchStatus.UNKNOWN, BatchNotEndedError),
    ],
)
@pytest.mark.parametrize("policy", ["any", "all"])
def test_each_end_has_its_own_exception(status: BatchStatus, kind: type[JobError], policy: FailOn) -> None:
    """Outcomes are told apart by type, and the exception names the batch."""
    error = judge([batch(status=status)], policy)

    assert type(error) is kind
    assert error.batch_ids == ("batch_1",)
    assert "batch_1" in str(error)


@pytest.mark.parametrize("status", list(BatchStatus))
def test_never_is_never(status: BatchStatus) -> None:
    """With "never" the caller reads the end for itself."""
    assert judge([batch(status=status, counts=(3, 0, 3))], "never") is None


@pytest.mark.parametrize(
    ("fields", "on_any", "on_all"),
    [
        pytest.param({"counts": (3, 3, 0), "output_file_id": "f"}, False, False, id="clean"),
        pytest.param({"counts": (3, 2, 1), "output_file_id": "f", "error_file_id": "e"}, True, False, id="some-failed"),
        pytest.param({"counts": (3, 0, 3), "error_file_id": "e"}, True, True, id="none-succeeded"),
        pytest.param({"counts": (3, 0, 3)}, True, True, id="none-succeeded-no-files"),
        pytest.param({"counts": (3, 3, 0), "error_file_id": "e"}, True, True, id="counts-lie-files-do-not"),
        pytest.param(
            {"counts": (3, 3, 0), "output_file_id": "f", "error_file_id": "e"}, False, False, id="empty-error-file"
        ),
        pytest.param({"output_file_id": "f"}, False, False, id="no-counts-clean"),
        pytest.param({"output_file_id": "f", "error_file_id": "e"}, True, False, id="no-counts-errors"),
        pytest.param(
            {"counts": (0, 0, 0), "output_file_id": "f", "error_file_id": "e"}, True, False, id="never-counted-errors"
        ),
        pytest.param({"counts": (0, 0, 0), "output_file_id": "f"}, False, False, id="never-counted-clean"),
        pytest.param({"counts": (0, 0, 2), "output_file_id": "f"}, True, False, id="failed-without-a-total"),
        pytest.param({"counts": (3, 0, 0), "output_file_id": "f", "error_file_id": "e"}, False, False, id="vertex"),
        pytest.param({}, False, False, id="nothing-told"),
    ],
)
def test_completed_batches_are_judged_by_counts_and_files(fields: dict[str, Any], on_any: bool, on_all: bool) -> None:
    """Counts have the word where the service counted; an error file without output outweighs them."""
    found = batch(status=COMPLETED, **fields)

    assert isinstance(judge([found], "any"), RequestsFailedError) is on_any
    assert isinstance(judge([found], "all"), RequestsFailedError) is on_all


def test_a_refused_batch_says_why_and_what_it_costs() -> None:
    """The service's words with code and line, no bill, and whether a retry helps."""
    error = failed_error(batch(status=BatchStatus.FAILED, problems=(WRONG,)))

    assert str(error) == (
        'Batch batch_1 failed at the service: invalid_model: "gpt-4o-mini-x" does not exist (line 1). Nothing ran and '
        "nothing is billed. Fix the input; a retry with the same input will fail the same way."
    )
    assert not error.retryable


def test_a_full_queue_passes() -> None:
    """Limits that are reached for now are worth a retry with the same input."""
    error = failed_error(batch(status=BatchStatus.FAILED, problems=(FULL,)))

    assert error.retryable
    assert "a retry later may be accepted" in str(error)


def test_only_three_reasons_are_shown() -> None:
    """Fifty thousand bad lines do not fill the log."""
    problems = tuple(BatchProblem(f"reason {number}", line=number) for number in range(5))
    error = failed_error(batch(status=BatchStatus.FAILED, problems=problems))

    assert str(error).count("reason ") == 3
    assert "(and 2 more)" in str(error)


def test_the_same_reason_for_every_line_is_one_reason() -> None:
    """It is shown with its first line, and the others are counted."""
    problems = tuple(BatchProblem("does not exist", "invalid_model", number) for number in (7, 8, 9))

    assert "invalid_model: does not exist (line 7) (and 2 more)." in str(
        failed_error(batch(status=BatchStatus.FAILED, problems=problems))
    )


def test_a_batch_that_failed_halfway_is_not_called_free() -> None:
    """Where the service counted finished requests, the message does not promise that nothing is billed."""
    error = failed_error(batch(status=BatchStatus.FAILED, counts=(10, 4, 0)))

    assert "Nothing ran" not in str(error)
    assert "4 of 10 requests succeeded, 0 failed), and what ran may be billed" in str(error)
    assert "the service gives no reason" in str(error)


@pytest.mark.parametrize(
    ("output", "text"), [("file-9", "kept and billed, in file file-9"), (None, "It has no output file.")]
)
def test_expired_and_cancelled_say_what_is_kept(output: str | None, text: str) -> None:
    """Half a batch is paid for, so its file is named."""
    for status in (BatchStatus.EXPIRED, BatchStatus.CANCELLED):
        found = batch(status=status, counts=(1_200, 1_000, 0), output_file_id=output)
        error = judge([found], "all")
        assert text in str(error)
        assert "1,000 of 1,200 requests succeeded" in str(error)


@pytest.mark.parametrize(("raw", "text"), [("Paused", "Paused"), (None, "status")])
def test_a_batch_asked_too_early_shows_the_services_word(raw: str | None, text: str) -> None:
    """The unknown word itself is what a person needs to see."""
    found = batch(status=BatchStatus.UNKNOWN, raw_status=raw)

    assert text in str(judge([found], "any"))
    assert text in str(not_ended_error(found))
    assert not_ended_error(found).retryable


def test_of_several_batches_the_worst_is_told() -> None:
    """One exception, the gravest kind, the ids of all that did not end well."""
    found = [
        batch("good", COMPLETED, counts=(1, 1, 0)),
        batch("some", COMPLETED, counts=(2, 1, 1)),
        batch("late", BatchStatus.EXPIRED),
        batch("bad", BatchStatus.FAILED, problems=(WRONG,)),
    ]
    error = judge(found, "any")

    assert type(error) is BatchFailedError
    assert error.batch_ids == ("some", "late", "bad")
    assert str(error).startswith("Batch bad failed")
    assert str(error).endswith("2 more of 4 batches did not end well either.")


@pytest.mark.parametrize(
    ("problems", "retryable"), [((FULL, FULL), True), ((FULL, WRONG), False), ((WRONG, FULL), False)]
)
def test_several_refused_batches_are_retried_only_when_all_may_pass(
    problems: tuple[BatchProblem, BatchProblem], retryable: bool
) -> None:
    """A full queue for all of them passes; one that is refused for good does not, and it is the one shown."""
    found = [batch(f"b{n}", BatchStatus.FAILED, problems=(problem,)) for n, problem in enumerate(problems)]
    error = judge(found, "any")

    assert error is not None
    assert error.retryable is retryable
    assert ("invalid_model" in str(error)) is not retryable


def test_good_batches_give_no_error() -> None:
    """Nothing to say about batches that ended well."""
    assert judge([batch("a", COMPLETED, counts=(1, 1, 0)), batch("b", COMPLETED)], "any") is None
    assert judge([], "any") is None
