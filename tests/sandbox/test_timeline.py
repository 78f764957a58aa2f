from __future__ import annotations

import math

import msgspec
import pytest

from airflow_batch_provider.sandbox.directives import Directives
from airflow_batch_provider.sandbox.settings import Durations
from airflow_batch_provider.sandbox.timeline import (
    Facts,
    Plan,
    RowError,
    ends_at,
    expires_at,
    phase_at,
    visible_time,
    work_due,
)

# validating 0-2, in_progress 2-12, finalizing 12-13
DURATIONS = Durations(validating=2, running_base=10, rows_per_second=1e9, finalizing=1, cancelling=4)
FACTS = Facts(rows=100)


def plan(directives: Directives | None = None, facts: Facts | None = FACTS, cancel_at: float | None = None) -> Plan:
    return Plan(
        created_at=0, durations=DURATIONS, directives=directives or Directives(), facts=facts, cancel_at=cancel_at
    )


@pytest.mark.parametrize(
    ("now", "status", "share"),
    [
        (0, "validating", 0),
        (1.99, "validating", 0),
        (2, "in_progress", 0),
        (7, "in_progress", 0.5),
        (12.1, "finalizing", 1),
        (13.1, "completed", 1),
        (1e9, "completed", 1),
    ],
)
def test_a_batch_passes_through_its_states(now: float, status: str, share: float) -> None:
    """Each state begins when the one before has lasted long enough, and rows get done evenly while it runs."""
    phase = phase_at(plan(), now)

    assert phase.status == status
    assert phase.share == pytest.approx(share, abs=1e-6)


def test_stamps_are_whole_seconds_of_what_happened() -> None:
    """A stamp appears when its state begins."""
    assert phase_at(plan(), 1).stamps == {}
    assert phase_at(plan(), 13.5).stamps == {"in_progress_at": 2, "finalizing_at": 12, "completed_at": 13}


def test_invalid_input_fails_the_batch() -> None:
    """A batch with findings never runs."""
    phase = phase_at(plan(facts=Facts(rows=3, errors=(RowError("x", "y"),))), 50)

    assert phase == ("failed", {"failed_at": 2}, 0.0)


def test_an_expired_batch_stops_short() -> None:
    """It runs and finalizes as usual, but with a share of its rows, and expires_at says when."""
    expiring = plan(Directives(expire_after=0.3))
    phase = phase_at(expiring, 100)

    assert (phase.status, phase.share, phase.stamps["expired_at"]) == ("expired", 0.3, 13)
    assert (expires_at(expiring), expires_at(plan())) == (13, 86_400)


def test_a_service_may_cancel_by_itself() -> None:
    """The outcome cancelled passes through cancelling."""
    cancelled = plan(Directives(cancel_after=0.5))

    assert phase_at(cancelled, 13).status == "cancelling"
    assert phase_at(cancelled, 17).stamps == {"in_progress_at": 2, "cancelling_at": 12, "cancelled_at": 16}


@pytest.mark.parametrize(
    ("cancel_at", "share"), [pytest.param(1, 0, id="validating"), (4, 0.2), pytest.param(12.5, 1, id="finalizing")]
)
def test_cancelling_keeps_what_was_done(cancel_at: float, share: float) -> None:
    """From the request on no more rows are done, and four seconds later the batch is cancelled."""
    cancelled = plan(cancel_at=cancel_at)

    assert phase_at(cancelled, cancel_at).status == "cancelling"
    assert phase_at(cancelled, cancel_at + 3.9).status == "cancelling"
    assert phase_at(cancelled, cancel_at + 4).status == "cancelled"
    assert phase_at(cancelled, 100).share == pytest.approx(share)


def test_cancelling_a_finished_batch_changes_nothing() -> None:
    """An end is an end."""
    assert phase_at(plan(cancel_at=20), 100).status == "completed"


def test_a_stalled_batch_stays_in_progress() -> None:
    """It gets half way and no further, until somebody cancels it."""
    stalled = plan(Directives(stall=True))

    assert phase_at(stalled, 1e9)[0] == "in_progress"
    assert phase_at(stalled, 1e9).share == 0.5
    assert ends_at(stalled) == math.inf
    assert phase_at(msgspec.structs.replace(stalled, cancel_at=50), 60).status == "cancelled"


def test_a_running_time_of_no_seconds_is_possible() -> None:
    """With a time of zero all rows are done at once."""
    assert phase_at(msgspec.structs.replace(plan(), run_seconds=0), 2).share == 1


def test_reading_the_input_is_due_when_validation_ends() -> None:
    """Until it is done the batch is seen as validating."""
    unread = plan(facts=None)

    assert work_due(unread, 1.9, is_produced=False) is None
    assert work_due(unread, 2, is_produced=False) == "inspect"
    assert phase_at(unread, visible_time(unread, 99, is_produced=False)).status == "validating"


def test_a_batch_cancelled_while_validating_is_never_read() -> None:
    """There is nothing left to find out."""
    assert work_due(plan(facts=None, cancel_at=1), 99, is_produced=False) is None


@pytest.mark.parametrize(
    ("directives", "cancel_at", "before"),
    [
        (Directives(), None, "finalizing"),
        (Directives(outcome="expired"), None, "finalizing"),
        (Directives(outcome="cancelled"), None, "cancelling"),
        (Directives(), 5, "cancelling"),
    ],
)
def test_writing_the_results_is_due_at_the_end(directives: Directives, cancel_at: float | None, before: str) -> None:
    """Until it is done the batch is seen in the state before its end."""
    due = plan(directives, cancel_at=cancel_at)

    assert work_due(due, ends_at(due) - 0.1, is_produced=False) is None
    assert work_due(due, ends_at(due), is_produced=False) == "produce"
    assert work_due(due, ends_at(due), is_produced=True) is None
    assert phase_at(due, visible_time(due, 99, is_produced=False)).status == before
