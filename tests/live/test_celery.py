"""Deferred batches over Celery workers and Redis: what differs from the LocalExecutor is who runs the legs of a task."""

from __future__ import annotations

import time

import pytest

from tests.live.airflow import wait_until
from tests.live.deployment import Deployment
from tests.live.wave import SETTLE_SECONDS, Wave

EXECUTOR = "CeleryExecutor"
FAULTS, LAST = 1, 2
CREATED = [0, 0, 0, 0, FAULTS, FAULTS, *[LAST] * 10]
INFERRED = [FAULTS, *[LAST] * 3]
SENSED = [LAST, LAST]


@pytest.fixture(scope="module")
def wave(begun_wave: Wave) -> Wave:
    """Give the wave, all its tasks deferred."""
    begun_wave.wait_until_deferred(240)
    return begun_wave


def test_killed_worker_and_triggerer(wave: Wave, deployed: Deployment, jobs: dict[str, int]) -> None:
    """While batches are waited for, a worker and a triggerer that are killed and replaced change nothing."""
    worker, (victim, other) = deployed.parts["celery worker"], deployed.triggerers

    worker.kill()
    victim.kill()

    wave.wait_until_with({jobs[other.name]})
    worker.start()
    jobs[victim.name] = deployed.start_triggerer(victim)
    wave.let_end(FAULTS)
    wave.check_nothing_was_cancelled()


def test_cleared_and_marked_failed(wave: Wave, deployed: Deployment) -> None:
    """A cleared task re-attaches; one that is marked failed cancels its batch, and only that."""
    cleared, marked = ("created", CREATED.index(LAST)), ("inferred", INFERRED.index(LAST))
    batch = wave.batch_of(cleared)

    wave.clear(cleared)
    wave.mark_failed(marked)

    wait_until(lambda: wave.instances()[cleared]["try_number"] == 2, "the second try has begun", 120)
    wait_until(lambda: wave.batch_of(marked)["status"] == "cancelled", "the batch is cancelled", 60)
    wave.wait_until_deferred(120)
    time.sleep(SETTLE_SECONDS)
    assert wave.batch_of(cleared)["id"] == batch["id"]
    wave.check_nothing_was_cancelled()


def test_everything_ends(wave: Wave) -> None:
    """At the end all other tasks have succeeded, and each has paid for exactly one batch."""
    wave.let_end(LAST)
    wave.check_paid_once()
