"""Paid once: a worker may die at any point, any answer may be lost, and the next try makes the same results."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_batch_provider.exceptions import BatchError
from airflow_batch_provider.joining import joiners
from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock, Tripwire, WorkerCrash
from tests.runner.support import Desk, dying_worker, new_desk

# Every second request of a batch fails once; the 400 fails for good.
MODELS = ("sandbox-echo", "sandbox-echo", "sandbox-fail-400", "sandbox-echo", "sandbox-echo", "sandbox-echo")
SOME_FAIL = {"sandbox": "fail_rows=0.5 fail_code=429"}
NEEDED_BATCHES = 5  # three shards, then two with the three requests that failed
PARTS = 8


class Undisturbed(NamedTuple):
    """A run that nothing happened to."""

    rows: list[dict[str, Any]]
    failures: bytes
    points: list[str]


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def server(clock: FakeClock) -> Iterator[SandboxServer]:
    with SandboxServer(clock=clock, seed=3) as running:
        yield running


@pytest.fixture
def desk(server: SandboxServer, clock: FakeClock, tmp_path: Path) -> Desk:
    """Give a run of three shards and two rounds, of a task instance that nobody knows yet."""
    server.faults.clear()
    return labels(server, clock, tmp_path)


def labels(server: SandboxServer, clock: FakeClock, folder: Path) -> Desk:
    desk = new_desk(server, clock, folder, metadata=SOME_FAIL)
    desk.write(*MODELS)
    return desk


@pytest.fixture(scope="module")
def undisturbed(server: SandboxServer, clock: FakeClock, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Give the results of a run that nothing happens to, its failures, and the points a worker comes by."""
    desk = labels(server, clock, tmp_path_factory.mktemp("undisturbed"))
    wire = Effects()
    with dying_worker(desk.output, wire):
        desk.finish(probe=wire)
    assert desk.outcomes() == ["succeeded"] * 2 + ["failed"] * 2 + ["succeeded"] * 2
    return Undisturbed(desk.settled(), (desk.output / "failures.jsonl").read_bytes(), wire.points)


def assert_paid_once(desk: Desk, undisturbed: Undisturbed) -> None:
    assert len(desk.batches()) == NEEDED_BATCHES
    assert desk.live() == [batch["id"] for batch in desk.batches()]
    assert desk.settled() == undisturbed.rows
    assert (desk.output / "failures.jsonl").read_bytes() == undisturbed.failures
    assert desk.server.files() == []
    assert desk.left_behind() == []


class Effects(Tripwire):
    """Counts what others can see of a worker: calls that change something, and files. A crash after one of them is the
    same as a crash before the next."""

    def __call__(self, point: str) -> None:
        if point.startswith("before ") and not point.startswith("before GET"):
            super().__call__(point)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_at_any_point_costs_nothing_and_loses_nothing(
    server: SandboxServer, clock: FakeClock, tmp_path: Path, undisturbed: Undisturbed, part: int
) -> None:
    """Before each call and each file a worker dies once; the next try ends with the batches and rows of a quiet run."""
    points = range(part, len(undisturbed.points), PARTS)
    assert len(points) > 8
    for number in points:
        desk = labels(server, clock, tmp_path / str(number))
        wire = Effects(number)
        with dying_worker(desk.output, wire), pytest.raises(WorkerCrash):
            desk.finish(probe=wire)
        clock.advance(60)

        desk.finish("2")

        try:
            assert_paid_once(desk, undisturbed)
        except AssertionError as error:
            error.add_note(f"crashed at {number}: {wire.points[-1]}")
            raise


SIDE_BY_SIDE: dict[str, Any] = {"uploads_at_a_time": 3, "landings_at_a_time": 2}


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        *itertools.product(["before POST /files", "after POST /files", "after POST /batches"], [1, 2, 3]),
        *itertools.product(["before GET /files/{id}/content", "after GET /files/{id}/content"], [1, 2, 4]),
        *itertools.product(["before write 0-00000.jsonl", "before write 0-00001.jsonl"], [1]),
        *itertools.product(["before write landed rows", "before sync landed rows"], [1, 2, 3, 5]),
    ],
)
@pytest.mark.parametrize("by", ["threads", "helpers"])
def test_a_crash_costs_nothing_when_shards_travel_side_by_side(
    desk: Desk, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch, point: str, nth: int, by: str
) -> None:
    """Uploads ahead of the paid calls, and rows that come beside others, change nothing: what is lost of an upload is
    found by its name and deleted, and what was not noted as landed lands again."""
    monkeypatch.setattr(joiners, "_cores", lambda: 2)
    monkeypatch.setattr(joiners, "MIN_HELPED_REQUESTS", 1 if by == "helpers" else 1000)
    lock, seen = threading.Lock(), Counter[str]()

    def probe(at: str) -> None:
        at = re.sub("/files/[^/]+", "/files/{id}", at)
        with lock:
            seen[at] += 1
            is_due = at == point and seen[at] == nth
        if is_due:
            raise WorkerCrash(at)

    with dying_worker(desk.output, probe), pytest.raises(WorkerCrash):
        desk.finish(probe=probe, **SIDE_BY_SIDE)
    desk.clock.advance(60)

    desk.finish("2", **SIDE_BY_SIDE)

    assert_paid_once(desk, undisturbed)


ROUTES = (
    "POST /files",
    "POST /batches",
    "GET /batches",
    "GET /batches/{id}",
    "GET /files",
    "GET /files/{id}",
    "GET /files/{id}/content",
    "DELETE /files/{id}",
)


@pytest.mark.parametrize("status", [pytest.param(None, id="cut"), pytest.param(500, id="500")])
@pytest.mark.parametrize("route", ROUTES)
def test_an_answer_lost_on_any_route_costs_nothing(
    desk: Desk, undisturbed: Undisturbed, route: str, status: int | None
) -> None:
    """The service does its work and the answer is lost, as a cut connection or a 500: the run ends as if it had come."""
    desk.server.faults.add(route, "lost_answer", times=1, **({"status": status} if status else {}))

    desk.finish()

    assert desk.server.faults.all() == [], "the route was never called, so nothing was tested"
    assert_paid_once(desk, undisturbed)


def test_all_answers_lost_at_once_cost_nothing(desk: Desk, undisturbed: Undisturbed) -> None:
    """An answer is lost on every route, also on the one that tells whether a batch was made: a retry settles it."""
    for route in ROUTES:
        # What is left at the service at the end is no reason to fail: there only the client tries again.
        is_tidying = route in ("GET /files", "DELETE /files/{id}")
        desk.server.faults.add(route, "lost_answer", times=3 if is_tidying else 5)

    for attempt in range(1, 10):
        try:
            desk.finish(str(attempt))
            break
        except BatchError as error:
            if not error.retryable:
                raise
            desk.clock.advance(60)

    assert desk.server.faults.all() == []
    assert_paid_once(desk, undisturbed)


@pytest.mark.parametrize("status", ["expired", "cancelled"])
@pytest.mark.parametrize(
    "point",
    [pytest.param("before write journal.json", id="id-not-noted"), pytest.param("before GET /batches", id="id-noted")],
)
def test_a_batch_that_ended_while_nobody_looked_is_landed_not_paid_again(desk: Desk, status: str, point: str) -> None:
    """A worker dies right after its paid call; when the next try comes the batch has expired: what it did is kept."""
    desk.options = {"metadata": {"sandbox": f"outcome={status}"}, "max_rounds": 1}
    desk.write("sandbox-echo", "sandbox-echo")
    made: list[str] = []

    def probe(at: str) -> None:
        made.extend(["yes"] if at == "after POST /batches" else [])
        if made and at == point:
            raise WorkerCrash(at)

    with dying_worker(desk.output, probe), pytest.raises(WorkerCrash):
        desk.finish(probe=probe)
    desk.clock.advance(90_000)

    desk.finish("2")

    assert len(desk.batches()) == 1
    assert desk.outcomes() == ["succeeded", status] or desk.outcomes() == [status, "succeeded"]
