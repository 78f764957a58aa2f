from __future__ import annotations

import pytest

from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.progress import ProgressReporter, describe, progress_value
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Watch
from tests.core.support import NOW, batch

RUNNING = BatchStatus.IN_PROGRESS


def watching(*ids: str) -> Watch:
    return Watch(ids, started_at=NOW, deadline_at=NOW + 86_400, policy=WatchPolicy())


def test_the_line_of_the_documentation() -> None:
    """Statuses, requests done and failed, pace and rest of several batches in one line."""
    watch = watching("a", "b", "c")
    for seconds, first, second, failed in ((0, 0, 0, 0), (2_400, 20_587, 20_600, 13)):
        watch.observe(batch("a", RUNNING, counts=(40_000, first, failed)), NOW + seconds)
        watch.observe(batch("b", RUNNING, counts=(40_000, second, 0)), NOW + seconds)
        watch.observe(batch("c", BatchStatus.VALIDATING, counts=(40_000, 0, 0)), NOW + seconds)

    assert describe(watch, NOW + 2_400) == (
        "2/3 running, 1/3 validating: 41,200 of 120,000 done, 13 failed, 1,030/min, about 77 min left."
    )


@pytest.mark.parametrize(
    ("status", "raw", "line"),
    [
        (RUNNING, "in_progress", "Batch a is running."),
        (BatchStatus.CANCELLING, "stopping", "Batch a is cancelling."),
        (BatchStatus.COMPLETED, "Completed", "Batch a is completed."),
        (BatchStatus.UNKNOWN, "Paused", 'Batch a is "Paused" (unknown to this provider, taken as running).'),
        (BatchStatus.UNKNOWN, None, "Batch a is not telling its status."),
    ],
)
def test_a_single_batch_is_named(status: BatchStatus, raw: str | None, line: str) -> None:
    """An unknown status is shown as the service writes it, with what is made of it."""
    watch = watching("a")
    watch.observe(batch("a", status, raw_status=raw), NOW)

    assert describe(watch, NOW) == line


def test_batches_without_an_answer_are_counted() -> None:
    """A wait that began in an outage does not look smaller than it is."""
    watch = watching("a", "b")
    watch.observe(batch("a"), NOW)

    assert describe(watch, NOW) == "1/2 running, 1/2 not answered yet."
    assert describe(watching("a"), NOW) == "1/1 not answered yet."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "about 60 s left"), (1_800, "about 30 min left"), (36_000, "about 10.0 h left"), (0.1, "about 1 s left")],
)
def test_the_rest_is_told_in_fitting_units(seconds: float, text: str) -> None:
    """Seconds, minutes or hours, never zero."""
    watch = watching("a")
    watch.observe(batch("a", counts=(200, 0, 0)), NOW)
    watch.observe(batch("a", counts=(200, 100, 0)), NOW + seconds)

    assert text in describe(watch, NOW + seconds)


def test_a_handful_of_rows_is_no_base_for_an_estimate() -> None:
    """The pace is told, what it would mean for the rest is not."""
    watch = watching("a")
    watch.observe(batch("a", counts=(5_000, 0, 0)), NOW)
    watch.observe(batch("a", counts=(5_000, 49, 0)), NOW + 60)

    assert describe(watch, NOW + 60) == "Batch a is running: 49 of 5,000 done, 0 failed, 49/min."


def test_nothing_is_left_of_an_ended_batch() -> None:
    """The last line has counts and pace, and no rest."""
    watch = watching("a")
    watch.observe(batch("a", counts=(100, 0, 0)), NOW)
    watch.observe(batch("a", BatchStatus.EXPIRED, counts=(100, 50, 2)), NOW + 60)

    assert describe(watch, NOW + 60) == "Batch a is expired: 52 of 100 done, 2 failed, 52/min."


def test_a_line_is_said_once_per_change() -> None:
    """Nobody reads the same line two hundred times; a changed count or status is news."""
    watch = watching("a")
    reporter = ProgressReporter(watch)
    assert reporter.next_line(NOW) is None

    watch.observe(batch("a", counts=(10, 0, 0)), NOW)
    assert reporter.next_line(NOW) == "Batch a is running: 0 of 10 done, 0 failed."
    watch.observe(batch("a", counts=(10, 0, 0)), NOW + 30)
    assert reporter.next_line(NOW + 30) is None
    watch.observe(batch("a", counts=(10, 1, 0)), NOW + 60)
    assert reporter.next_line(NOW + 60) is not None
    watch.observe(batch("a", BatchStatus.FINALIZING, counts=(10, 1, 0)), NOW + 90)
    assert reporter.next_line(NOW + 90) is not None


def test_the_value_for_ui_and_rest() -> None:
    """Counts as numbers, the line for people, and when; plain JSON."""
    watch = watching("a", "b")
    watch.observe(batch("a", BatchStatus.COMPLETED, counts=(10, 9, 1)), NOW)
    watch.observe(batch("b", RUNNING, counts=(10, 5, 0)), NOW)

    assert progress_value(watch, "the line", NOW) == {
        "text": "the line",
        "batches": 2, "ended": 1, "total": 20, "done": 15, "failed": 1, "per_minute": None, "estimated_end": None,
        "at": "2027-01-15T08:00:00+00:00",
    }  # fmt: skip


def of_run(**changes: int) -> Standing:
    values = {
        "round": 0, "shards": 12, "landed": 8, "done": 80_000, "failed": 10, "total": 120_000, "since": NOW - 600,
        "done_before": 0,
    }  # fmt: skip
    return Standing(**values | changes)  # type: ignore[arg-type]


def test_the_line_of_a_run_is_about_all_of_it() -> None:
    """Shards that have landed or wait for a place are in it, and the sum is that of the input."""
    watch = watching("a", "b", "c")
    watch.observe(batch("a", RUNNING, counts=(10_000, 9_000, 3)), NOW)
    watch.observe(batch("b", RUNNING, counts=(10_000, 997, 0)), NOW)
    watch.observe(batch("c", BatchStatus.COMPLETED, counts=(10_000, 10_000, 0)), NOW)

    assert describe(watch, NOW, of_run()) == (
        "2/12 running, 1/12 completed, 1/12 waiting for a place, 8/12 landed: "
        "100,000 of 120,000 done, 13 failed, 10,000/min, about 2 min left."
    )


def test_a_later_round_says_so() -> None:
    """Its few batches stand beside the whole input."""
    watch = watching("a")
    watch.observe(batch("a", RUNNING, counts=(96, 50, 0)), NOW)

    assert describe(watch, NOW, of_run(round=1, shards=1, landed=0, done=119_904, done_before=119_904)) == (
        "Round 1: Batch a is running: 119,954 of 120,000 done, 10 failed, 5/min, about 9 min left."
    )


def test_the_value_of_a_run_is_about_all_of_it() -> None:
    """Shards are counted like the rows, and the end is a moment that programs can read."""
    watch = watching("a")
    watch.observe(batch("a", RUNNING, counts=(10_000, 10_000, 0)), NOW)

    assert progress_value(watch, "the line", NOW, of_run()) == {
        "text": "the line",
        "batches": 12, "ended": 8, "total": 120_000, "done": 90_000, "failed": 10, "per_minute": 9000.0,
        "estimated_end": "2027-01-15T08:03:20+00:00", "at": "2027-01-15T08:00:00+00:00",
    }  # fmt: skip
