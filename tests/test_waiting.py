"""Waiting on a worker: how it ends, what it bears, what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.exceptions import ApiError, BatchTimeoutError, RateLimitError, WaitingFailedError
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.waiting import note_miss, timeout_error, wait_for_batches
from tests.fakes import FakeClock
from tests.samples import create_batch

ROUTE = "GET /batches/{id}"
DAY = 86_400.0


@dataclass
class Room:
    """A sandbox and a waiting room that share one clock."""

    server: SandboxServer
    client: BatchClient
    clock: FakeClock

    def create(self, directives: str = "", **options: Any) -> str:
        return create_batch(self.client, sandbox=directives, **options).id

    def wait(self, *batch_ids: str, timeout: float = DAY, **policy: float) -> list[Batch]:
        watch = Watch(
            batch_ids, started_at=self.clock(), deadline_at=self.clock() + timeout, policy=WatchPolicy(**policy)
        )
        return wait_for_batches(self.client, watch, clock=self.clock, sleep=self.clock.sleep, jitter=lambda: 0.5)


@pytest.fixture
def room() -> Iterator[Room]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=1) as server:
        settings = ServiceSettings(base_url=server.url, max_retries=0)
        with BatchClient(settings, sleep=clock.sleep) as client:
            yield Room(server, client, clock)


@pytest.mark.parametrize(
    ("directives", "status"),
    [
        pytest.param("", BatchStatus.COMPLETED, id="completed"),
        pytest.param("fail_rows=1", BatchStatus.COMPLETED, id="completed-with-errors"),
        pytest.param("outcome=failed", BatchStatus.FAILED, id="failed"),
        pytest.param("outcome=expired", BatchStatus.EXPIRED, id="expired"),
        pytest.param("outcome=cancelled", BatchStatus.CANCELLED, id="cancelled"),
        pytest.param("upper_status=true", BatchStatus.COMPLETED, id="shouted"),
    ],
)
def test_every_end_ends_the_wait(room: Room, directives: str, status: BatchStatus) -> None:
    """Whatever the end is, the wait returns the batch; judging it is somebody else's work."""
    (batch,) = room.wait(room.create(directives))
    assert batch.status is status


def test_a_batch_that_has_ended_is_not_slept_for(room: Room) -> None:
    """One look is enough for a batch that is done already."""
    batch_id = room.create()
    room.clock.advance(3600)
    before = room.server.calls[ROUTE]
    room.wait(batch_id)
    assert room.clock.sleeps == []
    assert room.server.calls[ROUTE] == before + 1


def test_several_batches_come_back_in_the_order_asked(room: Room) -> None:
    """Batches end in any order and are returned in the watch's; an ended one is not asked about again."""
    slow, fast, failed = room.create("seconds=200"), room.create(), room.create("outcome=failed")
    batches = room.wait(slow, fast, failed, poll_interval=10)
    assert [batch.id for batch in batches] == [slow, fast, failed]
    assert [batch.status.value for batch in batches] == ["completed", "completed", "failed"]
    looks = len(room.clock.sleeps) + 1
    assert looks > 3
    # fast and failed are done at the second look; slow needs all.
    assert room.server.calls[ROUTE] == looks + 2 + 2


def test_the_deadline_ends_the_wait_and_says_what_goes_on(room: Room) -> None:
    """A wait that runs out of time names the batch, the moment and the cost, at the deadline and not later."""
    batch_id = room.create("stall=true")
    began = room.clock()
    with pytest.raises(BatchTimeoutError, match="still running and billed") as caught:
        room.wait(batch_id, timeout=1000)
    assert room.clock() == pytest.approx(began + 1000, abs=1.0)
    assert caught.value.batch_ids == (batch_id,)
    assert caught.value.retryable
    assert str(caught.value).startswith(f"Batch {batch_id} did not end by 2027-01-15T08:16Z;")


def test_a_deadline_in_the_past_still_takes_one_look(room: Room) -> None:
    """A batch that ended before the deadline is not reported as late because nobody looked."""
    batch_id = room.create()
    room.clock.advance(3600)
    (batch,) = room.wait(batch_id, timeout=-10)
    assert batch.status is BatchStatus.COMPLETED


def test_only_open_batches_are_named_at_the_deadline(room: Room) -> None:
    """The timeout lists the batches that have not ended, and how many there are of all."""
    done, *open_ids = room.create(), *(room.create("stall=true") for _ in range(4))
    with pytest.raises(BatchTimeoutError) as caught:
        room.wait(done, *open_ids, timeout=600)
    assert caught.value.batch_ids == tuple(open_ids)
    assert str(caught.value).startswith(f"4 of 5 batches ({', '.join(open_ids[:3])}, ...) did not end by")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("drop", {}, id="dropped"),
        pytest.param("status", {"status": 503}, id="503"),
        pytest.param("html", {"status": 502}, id="html-502"),
        pytest.param("html", {"status": 200}, id="html-200"),
        pytest.param("status", {"status": 404}, id="404"),
        pytest.param("status", {"status": 401}, id="401"),
    ],
)
def test_blips_are_waited_out_and_told_once(
    room: Room, kind: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A few failed looks in a row cost one warning and nothing else."""
    batch_id = room.create("seconds=300")
    room.server.faults.add(ROUTE, kind, times=3, **options)
    (batch,) = room.wait(batch_id)
    assert batch.status is BatchStatus.COMPLETED
    assert [record.levelno for record in caplog.records if "Waiting goes on." in record.message] == [logging.WARNING]


@pytest.mark.parametrize(
    ("status", "patience"), [pytest.param(503, 3600.0, id="outage"), pytest.param(403, 300.0, id="refusal")]
)
def test_patience_depends_on_the_kind_of_trouble(room: Room, status: int, patience: float) -> None:
    """An outage is borne for an hour, a refusal for five minutes; then the wait gives up and the batch goes on."""
    batch_id = room.create()
    room.server.faults.add(ROUTE, "status", status=status)
    began = room.clock()
    with pytest.raises(WaitingFailedError, match="re-attaches to it") as caught:
        room.wait(batch_id)
    assert patience <= room.clock() - began <= patience * 1.2
    assert caught.value.batch_ids == (batch_id,)
    assert caught.value.retryable
    assert str(status) in str(caught.value)


def test_the_deadline_is_kept_during_an_outage(room: Room) -> None:
    """Trouble does not stretch the deadline."""
    batch_id = room.create()
    room.server.faults.add(ROUTE, "status", status=503)
    began = room.clock()
    with pytest.raises(BatchTimeoutError):
        room.wait(batch_id, timeout=600)
    assert room.clock() - began == pytest.approx(600, abs=1.0)


def test_retry_after_is_obeyed(room: Room) -> None:
    """A service that wants to be left alone for a while is left alone for that while."""
    batch_id = room.create()
    room.server.faults.add(ROUTE, "status", status=429, retry_after=900, times=1)
    room.wait(batch_id)
    assert room.clock.sleeps[0] == 900


def test_a_client_that_could_retry_leaves_long_pauses_to_the_wait(room: Room) -> None:
    """Retry-After of minutes is not slept through inside the client, call after call."""
    batch_id = room.create()
    settings = ServiceSettings(base_url=room.server.url, max_retries=5)
    room.server.faults.add(ROUTE, "status", status=429, retry_after=900, times=1)
    naps: list[float] = []
    with BatchClient(settings, sleep=naps.append) as room.client:
        room.wait(batch_id)
    assert naps == []
    assert room.clock.sleeps[0] == 900


def test_progress_is_told_once_per_change(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Each state of the batch is one line in the log, however often it was looked at."""
    caplog.set_level(logging.INFO, logger="airflow_batch_provider.waiting")
    batch_id = room.create("stall=true")
    with pytest.raises(BatchTimeoutError):
        room.wait(batch_id, timeout=600, poll_interval=1, max_poll_interval=1)
    lines = [record.message for record in caplog.records if record.name == "airflow_batch_provider.waiting"]
    assert len(room.clock.sleeps) > 300
    assert lines == list(dict.fromkeys(lines))
    assert lines[0] == f"Batch {batch_id} is validating."
    assert lines[-1].startswith(f"Batch {batch_id} is running: 1 of 3 done, 0 failed")
    assert len(lines) <= 4


def test_the_waiter_looks_less_often_during_a_long_wait(room: Room) -> None:
    """Pauses begin at the poll interval and grow up to the longest pause."""
    batch_id = room.create("stall=true")
    with pytest.raises(BatchTimeoutError):
        room.wait(batch_id, timeout=20_000)
    first, *_, before_last, _ = room.clock.sleeps
    assert first == 30
    assert before_last == 300
    assert all(30 <= pause <= 300 for pause in room.clock.sleeps[:-1])


def test_a_miss_is_told_apart_by_what_the_service_did() -> None:
    """The first miss in a row is new, with the pause that the service asked for; the next is not."""
    watch = Watch(["b"], started_at=0, deadline_at=DAY, policy=WatchPolicy())
    assert note_miss(watch, "b", RateLimitError("busy", 429, retry_after=77.0), 0.0)
    assert not note_miss(watch, "b", ApiError("no answer"), 1.0)
    assert "1 open, 1 in trouble" in repr(watch)


def test_one_batch_and_one_of_many_are_told_apart() -> None:
    """Number and verb agree."""
    assert str(timeout_error(["b"], 0, 1)).startswith("Batch b did not end by 1970-01-01T00:00Z; it is still running")
    assert str(timeout_error(["b"], 0, 3)).startswith("1 of 3 batches (b) did not end by")
    assert "they are still running" in str(timeout_error(["b", "c"], 0, 3))
    assert "safe" not in str(timeout_error(["b"], 0, 3))


def test_the_deadline_of_a_run_is_about_the_run() -> None:
    """All its shards, its rows that are home, and what to do that no retry undoes."""
    run = Standing(round=0, shards=3, landed=2, done=80_000, failed=0, total=120_000, since=0.0, done_before=0)

    assert str(timeout_error(["b"], 0, 1, run)) == (
        "1 of 3 batches (b) did not end by 1970-01-01T00:00Z; it is still running and billed. The finished rows (80,000) are "
        "safe. A retry waits again. To give up, cancel with CancelBatchOperator and set max_rounds=1, so that a retry sends "
        "nothing again."
    )
