"""Deferred batches over Celery workers and Redis: what differs from the LocalExecutor is who runs the legs of a task."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.live.airflow import wait_until
from tests.live.deployment import Deployment
from tests.live.wave import SETTLE_SECONDS, Wave
from tests.samples import jsonl, request

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


@contextmanager
def seen_processes(word: str) -> Iterator[set[int]]:
    """Collect the ids of all processes that come and go with a word in their commands."""
    found: set[int] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if process.pid not in found and any(word in part for part in process.cmdline()):
                        found.add(process.pid)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        is_over.set()
        watcher.join()


def test_large_batches_are_joined_by_helpers(deployed: Deployment, tmp_path: Path) -> None:
    """A task of a Celery worker starts them like any other, though ``multiprocessing`` may not; none stays."""
    (tmp_path / "in.jsonl").write_bytes(jsonl([request(number) for number in range(60_000)]))
    with seen_processes("airflow_batch_provider.joining") as helpers:
        run_id = deployed.trigger("live_large", {"input": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "out")})
        assert deployed.wait_for_run("live_large", run_id, 240) == "success"

    with (tmp_path / "out" / "results.jsonl").open("rb") as results:
        rows = [json.loads(row) for row in results]
    assert [(row["index"], row["outcome"]) for row in rows] == [(n, "succeeded") for n in range(60_000)]
    assert len(helpers) == 2
    assert not any(psutil.pid_exists(pid) for pid in helpers)
    assert "is lost" not in deployed.log("live_large", run_id, "run")
