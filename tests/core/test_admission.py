"""When to try again after the service has refused a new batch."""

from __future__ import annotations

from airflow_batch_provider.core.admission import LOOK_AGAIN_SECONDS, NO_LUCK_SECONDS, Admission
from tests.core.support import NOW


def test_a_full_queue_waits_for_another_batch() -> None:
    """Its room comes with the end of a batch of ours; only without any is there a time."""
    admission = Admission()
    assert admission.is_open(NOW)
    admission.queue_was_full(NOW)

    assert not admission.is_open(NOW)
    assert admission.try_again_at(NOW, others_run=True) is None
    assert admission.try_again_at(NOW, others_run=False) == NOW + LOOK_AGAIN_SECONDS


def test_nobody_tries_before_the_service_may_be_asked() -> None:
    """Also when a full queue follows a limit of calls: no worker is woken every second for nothing."""
    admission = Admission()
    admission.begin()
    admission.took_one()
    admission.wants_fewer_calls(NOW, None)
    later = NOW + LOOK_AGAIN_SECONDS + 1
    admission.queue_was_full(later)

    assert admission.try_again_at(later, others_run=True) == later + LOOK_AGAIN_SECONDS


def test_a_batch_taken_ends_the_hurry() -> None:
    """After a success only what is refused then counts, and the next try without luck comes later."""
    admission = Admission()
    admission.wants_fewer_calls(NOW, 5.0)
    assert admission.try_again_at(NOW, others_run=True) == NOW + NO_LUCK_SECONDS
    admission.begin()
    admission.took_one()

    assert admission.is_open(NOW + 10)
    assert admission.try_again_at(NOW + 10, others_run=True) is None
    assert admission.try_again_at(NOW + 10, others_run=False) == NOW + 11
