"""Limits and patience: how many batches at a time, full queues, batches that stand still."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.core.admission import LOOK_AGAIN_SECONDS, NO_LUCK_SECONDS
from airflow_batch_provider.exceptions import ApiStatusError, ConfigurationError
from airflow_batch_provider.runner import Waiting
from airflow_batch_provider.sandbox import Durations, SandboxServer
from airflow_batch_provider.stalling import CANCELLING_SECONDS, LOOKS, MIN_LOOK_SECONDS
from tests.fakes import FakeClock
from tests.runner.support import RUNNING, Desk

ECHO = "sandbox-echo"
HOUR = 3600.0
STALLED = {"sandbox": "stall=true"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=9, durations=Durations(cancelling=60)) as server:
        desk = Desk(server, clock, tmp_path)
        desk.write(*[ECHO] * 4)
        yield desk


def waiting(desk: Desk, attempt: str = "1", **how: Any) -> Waiting:
    step = desk.advance(attempt, **how)
    assert isinstance(step, Waiting)
    return step


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_never_more_than_max_active_batches(desk: Desk, limit: int) -> None:
    """At the moment of each paid call fewer batches run than allowed; in the end all were sent."""
    desk.write(*[ECHO] * 9, "sandbox-fail-429")
    running: list[int] = []

    def probe(point: str) -> None:
        if point == "after POST /batches":
            running.append(len(desk.live(*RUNNING)))

    desk.finish(probe=probe, max_active_batches=limit, pause=5)

    assert max(running) == limit
    assert len(running) == 6
    assert len(desk.rows()) == 10


def test_what_waits_for_a_place_is_sent_when_one_batch_has_ended(desk: Desk) -> None:
    """With more to send, one ended batch is enough to go on; without, all are waited for."""
    first = waiting(desk, max_active_batches=1)
    desk.clock.advance(60)
    second = waiting(desk, max_active_batches=1, resumes=True)

    assert (len(first.batch_ids), first.for_any) == (1, True)
    assert (len(second.batch_ids), second.for_any) == (1, False)
    assert first.batch_ids != second.batch_ids


@pytest.mark.parametrize("stall_after", [pytest.param(None, id="no-stall"), pytest.param(12 * HOUR, id="stall")])
def test_a_shard_that_waits_for_a_place_does_not_hurry_anybody(desk: Desk, stall_after: float | None) -> None:
    """What was not sent cannot stand still: nobody is woken but to see whether the batch that runs moves."""
    now = desk.clock()

    step = waiting(desk, max_active_batches=1, stall_after=stall_after)

    assert step.look_again_at == (None if stall_after is None else now + stall_after / LOOKS)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"max_active_batches": 0}, id="no-batches"),
        pytest.param({"max_rounds": 0}, id="no-rounds"),
        pytest.param({"metadata": {f"pair-{n}": "" for n in range(12)}}, id="more-metadata-than-services-take"),
        pytest.param({"metadata": {"team": 7}}, id="metadata-that-is-no-text"),
    ],
)
def test_limits_that_would_never_end_are_refused(desk: Desk, options: dict[str, Any]) -> None:
    """No batch at a time, or no round at all, is a mistake and nothing is sent."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        desk.advance(**options)

    assert desk.calls() == 0


def test_a_full_queue_puts_the_shard_back(desk: Desk) -> None:
    """A batch refused because too much is queued is no failure: the shard waits and is sent again, uploaded once."""
    desk.write(ECHO)
    waiting(desk, metadata={"sandbox": "queue_full=true"})
    desk.clock.advance(60)

    with desk.worker(resumes=True) as run:
        put_back = run.advance()
        at_once = run.advance()
        desk.clock.advance(LOOK_AGAIN_SECONDS)
        run.advance()
    summary = desk.finish(resumes=True)

    assert isinstance(put_back, Waiting)
    assert isinstance(at_once, Waiting)
    assert (put_back.batch_ids, put_back.look_again_at) == ((), desk.clock() - 60)
    assert [batch["status"] for batch in desk.batches()] == ["failed", "completed"]
    assert (summary["rounds"], desk.server.calls["POST /files"]) == (1, 1)
    assert desk.outcomes() == ["succeeded"]


def test_a_full_queue_of_one_shard_lets_the_others_go_on(desk: Desk) -> None:
    """While a shard is put back, running batches are waited for, and the first that ends makes a place."""
    waiting(desk, metadata={"sandbox": "queue_full=true"}, max_active_batches=1)
    desk.clock.advance(60)
    waiting(desk, resumes=True, max_active_batches=1)  # put back
    desk.clock.advance(60)

    step = waiting(desk, resumes=True, max_active_batches=1)

    assert (len(step.batch_ids), step.for_any) == (1, True)
    assert len(desk.live(*RUNNING)) == 1
    desk.finish(resumes=True, max_active_batches=1)
    assert desk.outcomes() == ["succeeded"] * 4


def test_who_is_alone_and_finds_the_queue_full_hears_what_may_be_wrong(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A shard larger than the whole queue waits for ever: when nothing of the run fills it, the log says what to do."""
    desk.write(*[ECHO] * 3)
    desk.options["metadata"] = {"sandbox": "queue_full=true"}
    waiting(desk)
    desk.clock.advance(60)
    waiting(desk, resumes=True)
    among_others = caplog.text
    caplog.clear()

    desk.write(ECHO)
    waiting(desk, "2", on_changed_input="restart")
    desk.clock.advance(60)
    waiting(desk, "2", resumes=True)

    assert "larger than all of it" not in among_others
    assert "The shard waits" in among_others
    assert "larger than all of it" in caplog.text
    assert "Tokens per batch" in caplog.text
    assert 'on_changed_input="restart"' in caplog.text  # other limits are another plan


def test_an_upload_refused_with_429_waits(desk: Desk) -> None:
    """Uploads are calls as well: a limit of calls fails no task."""
    desk.server.faults.add("POST /files", "status", status=429, retry_after=700)

    step, now = waiting(desk), desk.clock()
    desk.server.faults.clear()
    desk.finish(resumes=True, pause=700)

    assert (step.batch_ids, step.look_again_at) == ((), now + 700)
    assert desk.outcomes() == ["succeeded"] * 4


def test_an_account_without_money_is_not_waited_for(desk: Desk) -> None:
    """It says 429 too, but no waiting changes it: a person has to, and is told at once."""
    spent = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}
    desk.server.faults.add("POST /batches", "status", status=429, body=spent)

    with pytest.raises(ApiStatusError, match="nothing left to spend") as caught:
        desk.advance()
    desk.server.faults.clear()

    assert not caught.value.retryable
    desk.finish("2")
    assert len(desk.batches()) == 2


def test_uploads_that_ran_ahead_are_noted_whatever_happens(desk: Desk) -> None:
    """Gigabytes may be at the service when a batch is refused for good: the next try does not send them again."""
    desk.write(*[ECHO] * 10)
    spent = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}
    desk.server.faults.add("POST /batches", "status", status=429, body=spent)
    with pytest.raises(ApiStatusError):
        desk.advance(uploads_at_a_time=5)
    before = desk.server.calls["POST /files"]
    desk.server.faults.clear()

    desk.finish("2", uploads_at_a_time=5)

    assert before > 1
    assert desk.server.calls["POST /files"] == 5


@pytest.mark.parametrize("retry_after", [pytest.param(700, id="told"), pytest.param(None, id="not-told")])
def test_a_create_refused_with_429_waits(desk: Desk, retry_after: int | None) -> None:
    """The service wants fewer calls: the run waits as long as it says, without an error, and sends then."""
    desk.write(ECHO)
    options = {} if retry_after is None else {"retry_after": retry_after}
    desk.server.faults.add("POST /batches", "status", status=429, times=4, **options)

    with desk.worker() as run:
        step = run.advance()
        desk.server.faults.clear()
        again = run.advance()
        now = desk.clock()
        desk.clock.advance(retry_after or LOOK_AGAIN_SECONDS)
        run.advance()

    assert isinstance(step, Waiting)
    assert isinstance(again, Waiting)
    assert (step.batch_ids, step.look_again_at) == ((), now + (retry_after or LOOK_AGAIN_SECONDS))
    assert again.batch_ids == ()
    assert len(desk.batches()) == 1


@pytest.mark.parametrize(
    ("takes_one", "retry_after", "pause"),
    [
        pytest.param(True, 130, 130, id="one-taken"),
        pytest.param(True, None, LOOK_AGAIN_SECONDS, id="one-taken-nothing-told"),
        pytest.param(True, 10**8, 3600, id="one-taken-nonsense-told"),
        pytest.param(False, 130, NO_LUCK_SECONDS, id="none-taken"),
        pytest.param(False, 700, 700, id="none-taken-for-long"),
    ],
)
def test_a_limit_of_calls_does_not_hold_shards_until_another_batch_ends(
    desk: Desk, takes_one: bool, retry_after: int | None, pause: float
) -> None:
    """A batch may run for a day; what was refused with 429 meanwhile is sent again when the service may take it."""
    desk.write(*[ECHO] * 6)
    desk.options["metadata"] = {"sandbox": "seconds=80000"}

    def refuse(point: str = "after POST /batches") -> None:
        if point == "after POST /batches":
            told = {} if retry_after is None else {"retry_after": retry_after}
            desk.server.faults.add("POST /batches", "status", status=429, **told)

    if takes_one:
        step = waiting(desk, probe=refuse)
    else:
        waiting(desk, max_active_batches=1)
        refuse()
        step = waiting(desk, resumes=True)

    assert (len(step.batch_ids), step.for_any) == (1, True)
    assert step.look_again_at == desk.clock() + pause
    desk.server.faults.clear()
    assert len(waiting(desk, resumes=True).batch_ids) == 3


def test_a_shard_refused_with_429_and_those_behind_it_are_uploaded_once(desk: Desk) -> None:
    """What was uploaded ahead of its turn is noted, however often the service refuses the batch."""
    desk.write(*[ECHO] * 10)
    waiting(desk, max_active_batches=1, uploads_at_a_time=3)
    desk.server.faults.add("POST /batches", "status", status=429, retry_after=700)
    for _ in range(4):
        waiting(desk, resumes=True, uploads_at_a_time=3)
        desk.clock.advance(700)
    desk.server.faults.clear()
    desk.finish(resumes=True, uploads_at_a_time=3)

    assert desk.server.calls["POST /files"] == 5
    assert desk.outcomes() == ["succeeded"] * 10


def test_a_limit_of_calls_while_it_looks_for_the_batch_is_waited_out(desk: Desk) -> None:
    """The search before the next try may meet the same limit: that fails no task."""
    desk.write(ECHO)
    desk.server.faults.add("POST /batches", "status", status=429, retry_after=700)
    waiting(desk)
    desk.server.faults.clear()
    desk.server.faults.add("GET /batches", "status", status=429, retry_after=700)
    desk.clock.advance(700)

    step = waiting(desk, resumes=True)

    assert step.look_again_at == desk.clock() + 700
    desk.server.faults.clear()
    desk.finish(resumes=True, pause=700)
    assert len(desk.batches()) == 1


def test_a_stalled_batch_that_is_put_back_begins_anew(desk: Desk) -> None:
    """The shard's new batch was never cancelled, so nobody gives it up while it runs."""
    desk.write(ECHO)
    waiting(desk, metadata={"sandbox": "queue_full=true stall=true"}, stall_after=HOUR)
    with desk.worker(resumes=True, stall_after=HOUR) as run:
        journal = desk.journal()
        journal["pieces"][0]["cancelled_at"] = desk.clock()  # the queue was full just when it was cancelled
        desk.journal_path.write_text(json.dumps(journal))
        desk.clock.advance(60)
        assert isinstance(run.advance(), Waiting)
        assert desk.journal()["pieces"][0]["step"] == "uploaded"
        desk.options["metadata"] = {"sandbox": "seconds=7200"}
    desk.clock.advance(LOOK_AGAIN_SECONDS)
    waiting(desk, stall_after=HOUR, resumes=True)
    desk.clock.advance(CANCELLING_SECONDS)

    step = waiting(desk, stall_after=2 * HOUR, resumes=True)

    assert step.batch_ids == (desk.batches()[1]["id"],)
    assert len(desk.batches()) == 2


def test_a_batch_that_stands_still_is_cancelled_and_its_open_requests_go_again(desk: Desk) -> None:
    """After ``stall_after`` without a change the batch is cancelled; what it did is kept, the rest is sent anew."""
    desk.write(ECHO, ECHO)
    step = waiting(desk, metadata=STALLED, stall_after=HOUR)
    desk.clock.advance(60)
    moved = waiting(desk, metadata=STALLED, stall_after=HOUR, resumes=True)
    desk.clock.advance(HOUR - 1)
    still = waiting(desk, metadata=STALLED, stall_after=HOUR, resumes=True)
    assert desk.server.calls["POST /batches/{id}/cancel"] == 0
    desk.clock.advance(1)

    cancelled = waiting(desk, metadata=STALLED, stall_after=HOUR, resumes=True)
    desk.clock.advance(120)
    desk.finish(resumes=True, stall_after=HOUR)

    begin = desk.batches()[0]["created_at"]
    assert (step.look_again_at, moved.look_again_at) == (begin + MIN_LOOK_SECONDS, begin + 60 + MIN_LOOK_SECONDS)
    assert still.look_again_at == begin + 60 + HOUR
    assert cancelled.look_again_at == desk.batches()[0]["cancelling_at"] + CANCELLING_SECONDS
    assert [batch["status"] for batch in desk.batches()] == ["cancelled", "completed"]
    assert desk.outcomes() == ["succeeded"] * 2
    assert sorted(row["round"] for row in desk.rows()) == [0, 1]


@pytest.mark.parametrize("stall_after", [pytest.param(12 * HOUR, id="long"), pytest.param(60.0, id="short")])
def test_a_cancel_that_never_ends_is_left_behind(tmp_path: Path, stall_after: float) -> None:
    """A batch that stays ``cancelling`` (OGX after a crash) holds nobody up for longer than half an hour."""
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=9, durations=Durations(cancelling=1e9)) as server:
        desk = Desk(server, clock, tmp_path)
        desk.write(ECHO)
        waiting(desk, metadata=STALLED, stall_after=stall_after)
        clock.advance(60)
        waiting(desk, metadata=STALLED, stall_after=stall_after, resumes=True)
        clock.advance(stall_after)
        waiting(desk, metadata=STALLED, stall_after=stall_after, resumes=True)
        clock.advance(60)
        late = waiting(desk, metadata=STALLED, stall_after=stall_after, resumes=True)
        clock.advance(CANCELLING_SECONDS - 60)

        step = waiting(desk, stall_after=stall_after, resumes=True)
        desk.finish(resumes=True, stall_after=stall_after)

        assert late.look_again_at == clock() - 60
        assert step.batch_ids == (desk.batches()[1]["id"],)
        assert [batch["status"] for batch in desk.batches()] == ["cancelling", "completed"]
        assert [(row["outcome"], row["round"]) for row in desk.rows()] == [("succeeded", 1)]


def test_a_stalled_batch_that_ends_just_then_is_landed(desk: Desk) -> None:
    """The service refuses the cancel because the batch has ended in between: no error, the rows are taken."""
    desk.write(ECHO)
    waiting(desk, metadata={"sandbox": "seconds=7200"}, stall_after=HOUR)
    desk.clock.advance(60)
    waiting(desk, stall_after=HOUR, resumes=True)
    desk.clock.advance(HOUR)
    desk.server.faults.add("POST /batches/{id}/cancel", "status", status=409, times=1)

    waiting(desk, stall_after=HOUR, resumes=True)
    desk.clock.advance(2 * HOUR)
    desk.finish(resumes=True, stall_after=HOUR)

    assert desk.outcomes() == ["succeeded"]
    assert len(desk.batches()) == 1


def test_a_batch_that_nobody_hears_of_is_cancelled_in_time(desk: Desk) -> None:
    """The run looks only when it wakes by itself: a stall soon after the start is noticed a sixth of ``stall_after`` late."""
    begin = desk.clock()
    desk.write(ECHO)
    step = waiting(desk, metadata=STALLED, stall_after=12 * HOUR)
    while not desk.server.calls["POST /batches/{id}/cancel"]:
        assert step.look_again_at is not None
        desk.clock.advance(step.look_again_at - desk.clock())
        step = waiting(desk, stall_after=12 * HOUR, resumes=True)

    assert 12 * HOUR <= desk.clock() - begin <= 14 * HOUR


def test_without_stall_after_nothing_is_ever_cancelled(desk: Desk) -> None:
    """A batch may take its time."""
    desk.write(ECHO)
    waiting(desk, metadata=STALLED)
    desk.clock.advance(80_000)

    step = waiting(desk, resumes=True)

    assert step.look_again_at is None
    assert desk.live("in_progress") == list(step.batch_ids)
