"""When to try again after the service has refused a new batch."""

from __future__ import annotations

from airflow_batch_provider.core.admission import LOOK_AGAIN_SECONDS, NO_LUCK_SECONDS, Admission
from tests.fakes import FakeClock


def test_a_full_queue_waits_for_another_batch() -> None:
    """Its room comes with the end of a batch of ours; only without any is there a time."""
    clock = FakeClock()
    admission = Admission(clock)
    assert admission.is_open
    admission.queue_was_full()

    assert not admission.is_open
    assert admission.try_again_at(others_run=True) is None
    assert admission.try_again_at(others_run=False) == clock() + LOOK_AGAIN_SECONDS


def test_nobody_tries_before_the_service_may_be_asked() -> None:
    """Also when a full queue follows a limit of calls: no worker is woken every second for nothing."""
    clock = FakeClock()
    admission = Admission(clock)
    admission.begin()
    admission.took_one()
    admission.wants_fewer_calls(None)
    clock.advance(LOOK_AGAIN_SECONDS + 1)
    admission.queue_was_full()

    assert admission.try_again_at(others_run=True) == clock() + LOOK_AGAIN_SECONDS


def test_a_batch_taken_ends_the_hurry() -> None:
    """After a success only what is refused then counts, and the next try without luck comes later."""
    clock = FakeClock()
    admission = Admission(clock)
    admission.wants_fewer_calls(5.0)
    assert admission.try_again_at(others_run=True) == clock() + NO_LUCK_SECONDS
    clock.advance(10)
    admission.begin()
    admission.took_one()

    assert admission.is_open
    assert admission.try_again_at(others_run=True) is None
    assert admission.try_again_at(others_run=False) == clock() + 1
