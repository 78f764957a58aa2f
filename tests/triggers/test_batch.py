"""The trigger, against the sandbox, on a real event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.hooks import killed
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.triggers import batch as trigger_module
from airflow_batch_provider.triggers.batch import BatchTrigger
from tests.contexts import FakeTaskInstance
from tests.dags import connection
from tests.samples import create_batch
from tests.waits import ended


@pytest.fixture
def client(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a client, and the same service as connection ``batch_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection(sandbox.url, max_retries=0))
    with BatchClient(ServiceSettings.from_parts(host=sandbox.url)) as opened:
        yield opened


def trigger(*batch_ids: str, seconds: float = 20, **changes: Any) -> BatchTrigger:
    """Build a trigger that looks often."""
    arguments: dict[str, Any] = {
        "conn_id": "batch_default",
        "batch_ids": batch_ids,
        "deadline_at": time.time() + seconds,
    }
    return BatchTrigger(**arguments | {"poll_interval": 0.05} | changes)


def fire(waiting: BatchTrigger) -> WaitEvent:
    """Run a trigger to its event."""

    async def first() -> Any:
        return await anext(waiting.run())

    return WaitEvent.from_event(asyncio.run(first()).payload)


def test_survives_serialization() -> None:
    """A trigger built from its own serialized form, as JSON, is the same trigger."""
    original = trigger("batch_1", "batch_2", max_poll_interval=7, cancel_on_kill=False, standing={"round": 1})

    path, kwargs = original.serialize()
    again = BatchTrigger(**json.loads(json.dumps(kwargs)))

    assert path == f"{BatchTrigger.__module__}.{BatchTrigger.__qualname__}"
    assert again.serialize() == (path, kwargs)


def test_a_run_hears_of_all_its_rows(client: BatchClient, caplog: pytest.LogCaptureFixture) -> None:
    """The trigger waits for one batch of many: its line is about the run."""
    run = Standing(
        round=0, shards=9, landed=8, done=90, failed=1, total=100, since=time.time() - 60, done_before=0
    ).to_dict()
    with caplog.at_level(logging.INFO):
        fire(trigger(create_batch(client).id, standing=run))

    assert "1/9 completed, 8/9 landed: " in caplog.text
    assert " of 100 done, 1 failed" in caplog.text


def test_carries_no_secrets(client: BatchClient) -> None:
    """The serialized form holds the connection's id and nothing of its content."""
    text = json.dumps(trigger("batch_1").serialize())

    assert "batch_default" in text
    assert "sk-test-key" not in text
    assert "127.0.0.1" not in text


def test_fires_when_all_have_ended(client: BatchClient) -> None:
    """One event tells that every batch of the trigger has ended."""
    ids = [create_batch(client).id, create_batch(client, sandbox="outcome=failed").id]

    event = fire(trigger(*ids))

    assert event.outcome == "ended"
    assert list(event.batch_ids) == ids
    assert {client.get_batch(i).status.value for i in ids} == {"completed", "failed"}


def test_deadline_ends_the_wait_and_leaves_the_batch(client: BatchClient) -> None:
    """After the deadline the event names the open batches, which go on."""
    batch = create_batch(client, sandbox="stall=true")

    event = fire(trigger(batch.id, seconds=0.2))

    assert (event.outcome, event.open_ids) == ("timed_out", (batch.id,))
    assert client.get_batch(batch.id).status.may_be_cancelled


def test_a_near_deadline_does_not_overtake_the_scheduler(client: BatchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event within seconds of the deferral would fail the task, so a shorter wait takes a little longer."""
    monkeypatch.setattr(trigger_module, "FIRST_LOOK_SECONDS", 0.6)
    batch = create_batch(client, sandbox="stall=true")
    waiting = trigger(batch.id, seconds=0.1)
    waiting.task_instance = FakeTaskInstance()
    waiting._shows_progress = False
    began = time.time()

    event = fire(waiting)

    assert (event.outcome, event.open_ids) == ("timed_out", (batch.id,))
    assert time.time() - began >= 0.6


def test_deadline_is_wall_clock() -> None:
    """A trigger that starts after its deadline, as after a long restart, does not wait again."""
    began = time.monotonic()

    event = fire(trigger("batch_1", seconds=-1, conn_id="batch_nowhere", started_at=time.time() - 100))

    assert event.outcome in ("timed_out", "gave_up")
    assert time.monotonic() - began < 5


def test_a_batch_that_ended_while_no_triggerer_ran(client: BatchClient) -> None:
    """A trigger that starts after its deadline asks once before it gives a verdict."""
    batch = ended(client, create_batch(client))

    event = fire(trigger(batch.id, seconds=-1, started_at=time.time() - 100))

    assert event.outcome == "ended"


def test_blips_are_tolerated(client: BatchClient, sandbox: SandboxServer) -> None:
    """Faults, refusals and dropped connections during the wait change nothing about its end."""
    batch = create_batch(client)
    sandbox.faults.add("GET /batches/{id}", "status", times=1, status=500)
    sandbox.faults.add("GET /batches/{id}", "drop", times=1)
    sandbox.faults.add("GET /batches/{id}", "status", times=1, status=404)
    sandbox.faults.add("GET /batches/{id}", "html", times=1)

    assert fire(trigger(batch.id)).outcome == "ended"


def test_gives_up_on_an_unknown_batch(client: BatchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch the service does not know ends the wait after some patience, with the service's words."""
    monkeypatch.setattr(trigger_module, "WatchPolicy", _impatient)

    event = fire(trigger("batch_unknown"))

    assert event.outcome == "gave_up"
    assert "batch_unknown" in event.reason
    assert "404" in event.reason


def test_deleted_connection_is_told_to_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that stays away ends the wait with a reason, not with a crashed trigger."""
    monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT", raising=False)
    monkeypatch.setattr(trigger_module, "WatchPolicy", _impatient)

    event = fire(trigger("batch_1", conn_id="batch_gone"))

    assert event.outcome == "gave_up"
    assert "batch_gone" in event.reason


def test_loop_keeps_ticking(client: BatchClient, sandbox: SandboxServer) -> None:
    """While the service takes its time to answer, other triggers of the same loop go on."""
    batch = create_batch(client)
    sandbox.faults.add("GET /batches/{id}", "latency", times=2, seconds=0.3)
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - began)

    async def both() -> Any:
        ticking = asyncio.create_task(tick())
        event = await anext(trigger(batch.id).run())
        ticking.cancel()
        return event

    assert asyncio.run(both()).payload["outcome"] == "ended"
    assert len(gaps) > 10
    # The first looks import the client and load certificates; half of the gaps are far from any of that.
    assert sorted(gaps)[len(gaps) // 2] < 0.1


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(True, {"cancelling", "cancelled"}, id="marked-failed"),
        pytest.param(False, {"validating", "in_progress"}, id="cleared-or-taken-over"),
    ],
)
def test_on_kill_cancels_only_after_a_real_kill(
    client: BatchClient, monkeypatch: pytest.MonkeyPatch, state: bool, expected: set[str]
) -> None:
    """Airflow calls on_kill also when nobody killed the task; only a task marked failed loses its batch."""
    batch = create_batch(client, sandbox="stall=true")

    async def answer(task_instance: Any) -> bool:
        return state

    monkeypatch.setattr(trigger_module, "is_killed_async", answer)
    asyncio.run(trigger(batch.id).on_kill())

    assert client.get_batch(batch.id).status.value in expected


def test_on_kill_outlives_its_caller(client: BatchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow cancels on_kill after about a second; the cancel call goes on and arrives."""
    batch = create_batch(client, sandbox="stall=true")

    async def slow_answer(task_instance: Any) -> bool:
        await asyncio.sleep(0.2)
        return True

    monkeypatch.setattr(trigger_module, "is_killed_async", slow_answer)

    async def cut_off() -> None:
        killing = asyncio.create_task(trigger(batch.id).on_kill())
        await asyncio.sleep(0.05)
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        await asyncio.gather(*trigger_module._background)

    asyncio.run(cut_off())

    assert client.get_batch(batch.id).status.value in {"cancelling", "cancelled"}


def test_on_kill_can_be_switched_off(client: BatchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``cancel_on_kill=False`` a killed task leaves its batch alone."""
    batch = create_batch(client, sandbox="stall=true")
    monkeypatch.setattr(trigger_module, "is_killed_async", _always)

    asyncio.run(trigger(batch.id, cancel_on_kill=False).on_kill())

    assert client.get_batch(batch.id).status.may_be_cancelled


def test_without_airflow_nobody_was_killed() -> None:
    """Where Airflow gives no task instance, or cannot be asked, the answer is no."""
    assert asyncio.run(killed.is_killed_async(None)) is False
    assert asyncio.run(killed.is_killed_async(object())) is False


async def _always(task_instance: Any) -> bool:
    return True


def _impatient(**arguments: Any) -> Any:
    from airflow_batch_provider.core.patience import WatchPolicy

    make: Callable[..., WatchPolicy] = WatchPolicy
    return make(**arguments, refusal_patience=0.1)
