"""Paid once: a worker may die anywhere, and the next try ends with exactly one live batch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.options import OnUnknownSubmission
from airflow_batch_provider.exceptions import ApiStatusError, RateLimitError, SubmissionUnknownError
from airflow_batch_provider.hooks.memory import NoMemory
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.submission import Memory
from tests.fakes import FakeClock, Tripwire, WorkerCrash
from tests.samples import jsonl, request
from tests.submitting import KEY, Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=1) as server:
        desk = Desk(server, clock)
        content = jsonl([request(1)])
        with desk.client() as client:
            desk.file_id = client.upload_file(Upload(lambda: io.BytesIO(content), len(content), "in.jsonl")).id
        yield desk


POINTS = [
    "before load", "before save", "after save", "before POST /batches", "after POST /batches", "before save",
    "after save", "before GET /batches", "after GET /batches",
]  # fmt: skip
MEMORIES = [pytest.param(True, id="remembered"), pytest.param(False, id="airflow-without-state-store")]


def test_a_quiet_first_try_passes_exactly_the_points_that_the_crash_tests_cover(desk: Desk) -> None:
    """The list of crash points below is complete: a try comes by these points and no others."""
    wire = Tripwire()
    desk.memory.probe = wire
    batch_id = desk.submit(probe=wire)
    assert wire.points == POINTS
    assert desk.live() == [batch_id]
    assert desk.memory.record == {"version": 1, "key": KEY, "batch_id": batch_id, "saved_at": desk.clock()}


@pytest.mark.parametrize("is_remembered", MEMORIES)
@pytest.mark.parametrize("point", [pytest.param(i, id=f"{i}-{name}") for i, name in enumerate(POINTS)])
def test_a_worker_crash_at_any_point_never_pays_twice(desk: Desk, point: int, is_remembered: bool) -> None:
    """Wherever a worker dies, the next try ends with exactly one live batch and returns it."""
    wire = Tripwire(crash_at=point)
    desk.memory.probe = wire
    with pytest.raises(WorkerCrash):
        desk.submit(probe=wire)
    desk.memory.probe = lambda point: None
    batch_id = desk.retry(memory=desk.memory if is_remembered else NoMemory())
    assert desk.live() == [batch_id]
    assert len(desk.server.batches()) == 1


@pytest.mark.parametrize("is_remembered", MEMORIES)
@pytest.mark.parametrize(
    "status", [pytest.param(None, id="cut"), pytest.param(500, id="500"), pytest.param(504, id="504")]
)
def test_a_lost_answer_is_found_again_in_the_same_try(desk: Desk, status: int | None, is_remembered: bool) -> None:
    """When only the answer was lost, one look settles it and the try succeeds."""
    desk.server.faults.add("POST /batches", "lost_answer", times=1, **({"status": status} if status else {}))
    memory: Memory = desk.memory if is_remembered else NoMemory()
    batch_id = desk.submit(memory=memory)
    assert desk.live() == [batch_id]
    assert desk.server.calls["POST /batches"] == 1
    assert desk.retry(memory=memory) == batch_id
    assert desk.server.calls["POST /batches"] == 1


@pytest.mark.parametrize("is_remembered", MEMORIES)
def test_a_lost_answer_and_a_failing_look_leave_it_to_the_retry(desk: Desk, is_remembered: bool) -> None:
    """An answer lost while the service cannot be asked is a retryable error, and the retry adopts the batch."""
    desk.server.faults.add("POST /batches", "lost_answer", times=1)
    desk.server.faults.add("GET /batches", "status", status=503)
    with pytest.raises(SubmissionUnknownError, match="It is not known whether the batch was created") as caught:
        desk.submit()
    assert caught.value.retryable
    desk.server.faults.clear()
    batch_id = desk.retry(memory=desk.memory if is_remembered else NoMemory())
    assert desk.live() == [batch_id]
    assert desk.server.calls["POST /batches"] == 1


@pytest.mark.parametrize("is_remembered", MEMORIES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("status", {"status": 500}, id="500"),
        pytest.param("status", {"status": 429, "retry_after": 1}, id="429"),
        pytest.param("status", {"status": 401}, id="401"),
        pytest.param("drop", {}, id="dropped"),
        pytest.param("html", {"status": 200}, id="html-200"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_could_not_ask_never_means_not_there(
    desk: Desk, kind: Any, options: dict[str, Any], is_remembered: bool, on_unknown: OnUnknownSubmission
) -> None:
    """While the look-up fails, a later try creates nothing, whatever the policy, and may be tried again."""
    wire = Tripwire(crash_at=POINTS.index("after POST /batches"))
    desk.memory.probe = wire
    with pytest.raises(WorkerCrash):
        desk.submit(probe=wire)
    desk.memory.probe = lambda point: None
    desk.server.faults.add("GET /batches", kind, **options)
    with pytest.raises(SubmissionUnknownError, match="could not be asked") as caught:
        desk.retry(memory=desk.memory if is_remembered else NoMemory(), on_unknown=on_unknown)
    assert caught.value.retryable
    assert desk.server.calls["POST /batches"] == 1


@pytest.mark.parametrize("outcome", ["failed", "expired", "cancelled"])
@pytest.mark.parametrize("is_remembered", MEMORIES)
def test_a_batch_that_ended_badly_is_followed_by_a_new_one(desk: Desk, outcome: str, is_remembered: bool) -> None:
    """A retry after a failed, expired or cancelled batch creates one new batch."""
    memory: Memory = desk.memory if is_remembered else NoMemory()
    first = desk.submit(memory=memory, sandbox=f"outcome={outcome}")
    assert desk.end(first) == outcome
    second = desk.retry(memory=memory)
    assert second != first
    assert desk.live() == [second]
    assert desk.retry(memory=memory) == second


@pytest.mark.parametrize("is_remembered", MEMORIES)
def test_a_completed_batch_is_adopted_and_costs_nothing(desk: Desk, is_remembered: bool) -> None:
    """A cleared task whose batch completed gets that batch."""
    memory: Memory = desk.memory if is_remembered else NoMemory()
    earliest = desk.clock()
    first = desk.submit(memory=memory)
    assert desk.end(first) == "completed"
    assert desk.retry(memory=memory, earliest=earliest) == first
    assert desk.server.calls["POST /batches"] == 1


@pytest.mark.parametrize("is_remembered", MEMORIES)
def test_another_key_makes_another_batch_and_leaves_the_old_one_alone(
    desk: Desk, is_remembered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Other input is another call: it gets its own batch, and going back to the old input finds the old batch."""
    memory: Memory = desk.memory if is_remembered else NoMemory()
    old = desk.submit(memory=memory)
    new = desk.retry(memory=memory, key="another-key")
    assert desk.live() == [old, new]
    assert ("left alone" in caplog.text) is is_remembered
    assert desk.retry(memory=memory) == old
    assert len(desk.server.batches()) == 2


@pytest.mark.parametrize(
    ("status", "expected"), [pytest.param(400, ApiStatusError, id="400"), pytest.param(429, RateLimitError, id="429")]
)
def test_a_refusal_is_passed_on_and_the_retry_creates(desk: Desk, status: int, expected: type[ApiStatusError]) -> None:
    """A create call that was surely refused raises the refusal itself; the next try creates."""
    desk.server.faults.add("POST /batches", "status", status=status)
    with pytest.raises(expected):
        desk.submit()
    desk.server.faults.clear()
    batch_id = desk.retry()
    assert desk.live() == [batch_id]


def test_a_memory_that_cannot_be_written_stops_before_the_paid_call(desk: Desk) -> None:
    """Without a note of the intent nothing is paid."""

    def fail(point: str) -> None:
        if point == "before save":
            raise OSError("no database")

    desk.memory.probe = fail
    with pytest.raises(OSError, match="no database"):
        desk.submit()
    assert desk.server.calls["POST /batches"] == 0


def test_a_memory_that_fails_after_the_paid_call_is_made_up_for(desk: Desk) -> None:
    """When the id could not be noted, the retry finds the batch by its key."""

    def fail(point: str) -> None:
        if point == "before save" and desk.server.calls["POST /batches"]:
            raise OSError("no database")

    desk.memory.probe = fail
    with pytest.raises(OSError, match="no database"):
        desk.submit()
    desk.memory.probe = lambda point: None
    batch_id = desk.retry()
    assert desk.live() == [batch_id]


def test_a_known_batch_that_cannot_be_asked_about_is_waited_for_by_a_retry(desk: Desk) -> None:
    """A failing GET of the recorded batch is the service's own error and creates nothing."""
    batch_id = desk.submit()
    desk.server.faults.add("GET /batches/{id}", "status", status=503)
    with pytest.raises(ApiStatusError) as caught:
        desk.retry()
    assert caught.value.retryable
    desk.server.faults.clear()
    assert desk.retry() == batch_id
    assert desk.live() == [batch_id]


def test_the_oldest_of_two_tries_at_once_wins(desk: Desk) -> None:
    """A worker thought dead that wakes before its paid call gets the batch of its successor, and cancels its own."""
    successors: list[str] = []

    def pause(point: str) -> None:
        if point == "before POST /batches" and not successors:
            successors.append(desk.retry())
            desk.clock.advance(1)

    winner = desk.submit(probe=pause)
    assert [winner] == successors
    assert desk.live() == [winner]
    assert [batch["status"] for batch in desk.server.batches()] == ["validating", "cancelling"]
    assert desk.retry() == winner


@pytest.mark.parametrize("is_remembered", MEMORIES)
def test_a_batch_is_found_behind_a_hundred_others(desk: Desk, is_remembered: bool) -> None:
    """The service's list is read page by page until the key is found."""
    wire = Tripwire(crash_at=POINTS.index("after POST /batches"))
    desk.memory.probe = wire
    with pytest.raises(WorkerCrash):
        desk.submit(probe=wire)
    desk.memory.probe = lambda point: None
    earliest = desk.clock()
    (ours,) = desk.live()
    with desk.client() as client:
        body = desk.submission(client, key="somebody-else").body
        for _ in range(101):
            client.create_batch(body)
    before = desk.server.calls["GET /batches"]
    assert desk.retry(memory=desk.memory if is_remembered else NoMemory(), earliest=earliest) == ours
    assert desk.server.calls["GET /batches"] == before + 2
