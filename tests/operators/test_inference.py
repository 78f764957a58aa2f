"""``BatchInferenceOperator``: the whole run in one task, on a worker or deferred."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.exceptions import (
    BatchError,
    BatchFailedError,
    BatchTimeoutError,
    ConfigurationError,
    ForeignJournalError,
    InputError,
    JournalUnreadableError,
    PartialFailureError,
    TriggerEventError,
    WaitingFailedError,
)
from airflow_batch_provider.links.batch import URL_KEY
from airflow_batch_provider.operators.batch import BatchInferenceOperator
from airflow_batch_provider.operators.inference import LAND_AFTER_SECONDS
from airflow_batch_provider.runner import BatchRun
from airflow_batch_provider.sandbox import SandboxServer
from tests.contexts import FakeTaskInstance, task_context
from tests.dags import connection
from tests.operators.conftest import CONSOLE
from tests.samples import jsonl, request
from tests.waits import ended

ECHO, REFUSED = "sandbox-echo", "sandbox-fail-400"


@dataclass
class Task:
    """A task with an input and an output of its own."""

    folder: Path
    client: BatchClient
    server: SandboxServer

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def write(self, *models: str) -> None:
        (self.folder / "in.jsonl").write_bytes(jsonl([request(n, model=model) for n, model in enumerate(models)]))

    def operator(self, **changes: Any) -> BatchInferenceOperator:
        arguments: dict[str, Any] = {"input": str(self.folder / "in.jsonl"), "output": str(self.output)}
        arguments |= {"deferrable": False, "poll_interval": 0.05, "timeout": 20}
        return BatchInferenceOperator(task_id="label", **arguments | changes)

    def execute(self, try_number: int = 1, **changes: Any) -> dict[str, Any]:
        return self.operator(**changes).execute(context(try_number))

    def defer(self, try_number: int = 1, **changes: Any) -> TaskDeferred:
        with pytest.raises(TaskDeferred) as deferred:
            self.execute(try_number, deferrable=True, **changes)
        return deferred.value

    def resume(self, deferred: TaskDeferred, outcome: str = "ended", **changes: Any) -> dict[str, Any]:
        """Fire the trigger, in another process as far as the operator can tell."""
        trigger = deferred.trigger
        if outcome == "ended":
            for batch_id in trigger.batch_ids[: 1 if trigger.any_after == 0 else None]:
                ended(self.client, self.client.get_batch(batch_id))
        event = WaitEvent(outcome, tuple(trigger.batch_ids), trigger.deadline_at)  # type: ignore[arg-type]
        operator = self.operator(deferrable=True, **changes)
        return operator.execute_complete(context(), json.loads(json.dumps(event.to_event())))

    def outcomes(self) -> list[str]:
        rows = (self.output / "results.jsonl").read_bytes().splitlines()
        return [json.loads(row)["outcome"] for row in rows]


def context(try_number: int = 1, **ti: Any) -> Any:
    return task_context(FakeTaskInstance(task_id="label", try_number=try_number, **ti))


@pytest.fixture
def task(client: BatchClient, sandbox: SandboxServer, tmp_path: Path) -> Task:
    found = Task(tmp_path, client, sandbox)
    found.write(ECHO, ECHO, ECHO)
    return found


@pytest.fixture
def _pairs(client: BatchClient, monkeypatch: pytest.MonkeyPatch, sandbox: SandboxServer) -> None:
    """Let the connection say that a batch holds two requests."""
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection(sandbox.url, max_retries=0, max_batch_requests=2))


def test_waits_on_the_worker_and_returns_the_summary(task: Task) -> None:
    """Not deferrable, the task ends with every row written; its XCom is the summary, small and plain JSON."""
    summary = task.execute()

    assert summary == json.loads(json.dumps(summary)) == json.loads((task.output / "summary.json").read_bytes())
    assert summary["status"] == "completed"
    assert (summary["requests"], summary["rounds"], summary["batches"]) == (3, 1, 1)
    assert summary["outcomes"] == {
        "succeeded": 3, "failed": 0, "invalid": 0, "expired": 0, "cancelled": 0, "missing": 0,
    }  # fmt: skip
    assert summary["usage"]["input_tokens"] > 0
    assert summary["usage"]["output_tokens"] > 0
    assert (summary["results"], summary["failures"]) == (f"{task.output}/results.jsonl", None)
    assert summary["started_at"] <= summary["ended_at"]
    assert task.outcomes() == ["succeeded"] * 3


def test_defers_and_resumes(task: Task) -> None:
    """Deferrable, the wait goes to a trigger with the task's deadline; the resumed task lands the rows."""
    deferred = task.defer(timeout=timedelta(seconds=100), poll_interval=7.0, cancel_on_kill=False)
    trigger = deferred.trigger

    summary = task.resume(deferred)

    assert trigger.batch_ids == summary["batch_ids"]
    assert (trigger.conn_id, trigger.poll_interval, trigger.cancel_on_kill) == ("batch_default", 7.0, False)
    assert trigger.any_after == LAND_AFTER_SECONDS
    assert deferred.method_name == "execute_complete"
    assert 90 < trigger.deadline_at - time.time() <= 100 < deferred.timeout.total_seconds()
    assert task.outcomes() == ["succeeded"] * 3


def test_the_trigger_knows_how_far_the_run_is(task: Task) -> None:
    """Its lines are about the whole run, so it carries what has landed; as plain JSON."""
    deferred = task.defer()

    found = Standing.from_dict(json.loads(json.dumps(deferred.trigger.serialize()[1]))["standing"])

    assert found is not None
    assert (found.shards, found.landed, found.done, found.total) == (1, 0, 0, 3)
    assert abs(found.since - time.time()) < 60


def test_the_link_leads_to_a_batch_that_is_waited_for(task: Task) -> None:
    """A person who wants to look, or to cancel, finds it while the task is deferred and after."""
    operator, ti = task.operator(deferrable=True), FakeTaskInstance(task_id="label")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task_context(ti))
    (batch_id,) = deferred.value.trigger.batch_ids
    url = CONSOLE.replace("{batch_id}", batch_id)
    (link,) = operator.operator_extra_links

    assert ti.xcoms[URL_KEY] == link.get_link(operator, ti_key=None) == url

    task.resume(deferred.value)
    again = task.operator()
    again.execute(context(2))
    assert link.get_link(again, ti_key=None) == url


def test_a_task_that_fails_before_it_has_a_batch_has_no_link(task: Task) -> None:
    """Airflow asks for links after each leg; looked for in vain they would be an error in the log, beside the real one."""
    (task.folder / "in.jsonl").write_bytes(b"not JSON\n")
    operator = task.operator()
    with pytest.raises(InputError):
        operator.execute(context())

    assert operator.operator_extra_links[0].get_link(operator, ti_key=None) == ""


def test_the_summary_is_as_new_as_the_log(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a worker nobody resumes the task: each line of progress in the log is in ``summary.json`` too."""
    told: list[dict[str, Any]] = []

    def tell(run: BatchRun, batches: Any) -> None:
        real(run, batches)
        told.append(json.loads((task.output / "summary.json").read_bytes())["progress"])

    real = BatchRun.tell
    monkeypatch.setattr(BatchRun, "tell", tell)
    task.execute(metadata={"sandbox": "seconds=1"})

    assert told
    assert {each["total"] for each in told} == {3}
    assert told[-1]["done"] == 3


def test_defers_again_for_each_round(task: Task) -> None:
    """A further round is another wait of the same try, to the same deadline."""
    first = task.defer(metadata={"sandbox": "fail_rows=0.4 fail_code=429"}, timeout=100)
    with pytest.raises(TaskDeferred) as second:
        task.resume(first)

    summary = task.resume(second.value)

    assert second.value.trigger.deadline_at == first.trigger.deadline_at
    assert (summary["rounds"], summary["batches"]) == (2, 2)
    assert task.outcomes() == ["succeeded"] * 3


@pytest.mark.usefixtures("_pairs")
def test_waits_for_any_when_more_is_to_be_sent(task: Task) -> None:
    """With ``max_active_batches`` the first ended batch wakes the task, which then sends the next shard."""
    first = task.defer(max_active_batches=1)
    with pytest.raises(TaskDeferred) as second:
        task.resume(first, max_active_batches=1)

    task.resume(second.value, max_active_batches=1)

    assert (first.trigger.any_after, len(first.trigger.batch_ids)) == (0, 1)
    assert (second.value.trigger.any_after, len(second.value.trigger.batch_ids)) == (LAND_AFTER_SECONDS, 1)
    assert first.trigger.deadline_at - time.time() > 5, "what waits for a place must not wake anybody"
    assert task.outcomes() == ["succeeded"] * 3


def test_a_full_queue_holds_no_worker(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the service takes no batch now, the deferrable task waits in the triggerer, and sends it afterwards."""
    first = task.defer(metadata={"sandbox": "queue_full=true"}, timeout=1000)
    with pytest.raises(TaskDeferred) as second:
        task.resume(first)
    trigger = second.value.trigger
    assert trigger.batch_ids == []
    assert 50 < trigger.deadline_at - time.time() <= 61

    event = asyncio.run(_first_event(trigger, trigger.deadline_at, monkeypatch))
    assert event["outcome"] == "timed_out"


async def _first_event(trigger: Any, now: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("airflow_batch_provider.triggers.batch.time.time", lambda: now)
    return (await anext(trigger.run())).payload


@pytest.mark.usefixtures("_pairs")
def test_waits_for_any_on_the_worker(task: Task) -> None:
    """The same without a triggerer."""
    summary = task.execute(max_active_batches=1)

    assert summary["batches"] == 2
    assert task.outcomes() == ["succeeded"] * 3


def test_wakes_in_time_for_a_batch_that_stands_still(task: Task) -> None:
    """The trigger's deadline is the moment at which the batch would count as stalled, not the task's own."""
    deferred = task.defer(stall_after=timedelta(seconds=30), timeout=1000)

    assert 25 < deferred.trigger.deadline_at - time.time() <= 30


def test_a_wake_up_before_the_deadline_is_no_timeout(task: Task) -> None:
    """A trigger that timed out earlier than the task does is a reason to look, and to wait on."""
    first = task.defer(metadata={"sandbox": "stall=true"}, stall_after=30, timeout=1000)

    with pytest.raises(TaskDeferred) as second:
        task.resume(first, "timed_out", stall_after=30)

    assert second.value.trigger.batch_ids == first.trigger.batch_ids


def test_a_deadline_on_the_worker_leaves_the_batch_and_a_retry_takes_it(task: Task) -> None:
    """After ``timeout`` the try fails, the batch goes on, and the retry waits for the same one."""
    with pytest.raises(BatchTimeoutError, match="still running and billed. A retry waits again") as caught:
        task.execute(timeout=0.2, metadata={"sandbox": "seconds=40"})

    summary = task.execute(2)

    assert not isinstance(caught.value, AirflowFailException)
    assert list(caught.value.batch_ids) == summary["batch_ids"]
    assert task.server.calls["POST /batches"] == 1
    assert task.outcomes() == ["succeeded"] * 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_deadline_tells_of_the_whole_round(task: Task, deferrable: bool) -> None:
    """How many batches of all it was, and that what has landed is safe: a person must know what is lost, which is nothing."""
    limits: dict[str, Any] = {"limits": {"max_requests": 1}, "max_active_batches": 2}
    first = task.defer(**limits)
    for batch_id in first.trigger.batch_ids:
        ended(task.client, task.client.get_batch(batch_id))
    limits["metadata"] = {"sandbox": "stall=true"}
    with pytest.raises(TaskDeferred) as second:
        task.resume(first, **limits)
    journal = task.output / "_run" / "journal.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"deadline_at": time.time() - 1}))

    with pytest.raises(BatchTimeoutError, match=r"^1 of 3 batches .*The finished rows \(2\) are safe\.") as caught:
        task.resume(second.value, "timed_out", **limits) if deferrable else task.execute(2, timeout=0.2, **limits)

    assert list(caught.value.batch_ids) == list(second.value.trigger.batch_ids)


def test_a_deadline_while_deferred_leaves_the_batch_and_a_retry_has_a_new_one(task: Task) -> None:
    """The deadline of a try is in the journal; a retry sets its own."""
    first = task.defer(metadata={"sandbox": "stall=true"}, timeout=1000)
    journal = task.output / "_run" / "journal.json"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {"deadline_at": time.time() - 1}))
    with pytest.raises(BatchTimeoutError) as caught:
        task.resume(first, "timed_out")

    second = task.defer(2, timeout=1000)

    assert not isinstance(caught.value, AirflowFailException)
    assert second.trigger.batch_ids == first.trigger.batch_ids
    assert second.trigger.deadline_at - time.time() > 900


def test_a_deadline_while_nothing_is_sent_says_so(task: Task) -> None:
    """When the queue was full to the end, the error does not speak of batches that run."""
    with pytest.raises(BatchTimeoutError, match="Nothing is running") as caught:
        task.execute(timeout=0.5, metadata={"sandbox": "queue_full=true"})

    assert caught.value.batch_ids == ()


@pytest.mark.parametrize(
    ("fail_on", "models", "fails"),
    [
        pytest.param("any", (ECHO, ECHO), False, id="any-clean"),
        pytest.param("any", (ECHO, REFUSED), True, id="any-one"),
        pytest.param("all", (ECHO, REFUSED), False, id="all-one"),
        pytest.param("all", (REFUSED, REFUSED), True, id="all-all"),
        pytest.param("never", (REFUSED, REFUSED), False, id="never"),
        pytest.param(0.5, (ECHO, REFUSED), False, id="share-met"),
        pytest.param(0.4, (ECHO, REFUSED), True, id="share-exceeded"),
    ],
)
def test_fail_on_judges_after_everything_is_written(
    task: Task, fail_on: Any, models: tuple[str, ...], fails: bool
) -> None:
    """Whatever the verdict, the results are there; a bad one fails the task for good, and clearing costs nothing."""
    task.write(*models)
    if not fails:
        assert task.execute(fail_on=fail_on)["requests"] == 2
    else:
        for try_number in (1, 2):
            with pytest.raises(PartialFailureError, match="ready to be an input") as caught:
                task.execute(try_number, fail_on=fail_on)
            assert isinstance(caught.value, AirflowFailException)
            assert caught.value.summary["failures"] == f"{task.output}/failures.jsonl"
    assert len(task.outcomes()) == 2
    assert task.server.calls["POST /batches"] == 1


@pytest.mark.parametrize("deferrable", [pytest.param(True, id="deferrable"), pytest.param(False, id="on-the-worker")])
def test_clearing_a_task_that_succeeded_costs_nothing(task: Task, deferrable: bool) -> None:
    """The same summary again, and not one call."""
    summary, before = task.execute(), task.server.calls.copy()

    assert task.execute(2, deferrable=deferrable) == summary
    assert task.server.calls == before


def test_clearing_a_deferred_task_takes_its_batches_over(task: Task) -> None:
    """The new try waits for the same batch; when the old one is resumed all the same, it stops."""
    first = task.defer()
    second = task.defer(2)

    with pytest.raises(BatchError, match="Another try") as caught:
        task.resume(first)

    assert isinstance(caught.value, AirflowFailException)
    assert second.trigger.batch_ids == first.trigger.batch_ids
    assert task.server.calls["POST /batches"] == 1


@pytest.mark.parametrize(
    ("state", "cancel_on_kill", "is_cancelled"),
    [
        pytest.param("failed", True, True, id="marked-failed"),
        pytest.param("failed", False, False, id="not-wanted"),
        pytest.param("running", True, False, id="worker-shut-down"),
    ],
)
def test_on_kill_of_a_worker(task: Task, state: str, cancel_on_kill: bool, is_cancelled: bool) -> None:
    """A waiting worker that is stopped cancels the run's batches only when the task was marked failed."""
    here = context()
    operator = task.operator(deferrable=True, metadata={"sandbox": "stall=true"}, cancel_on_kill=cancel_on_kill)
    operator.on_kill()  # before it waits there is nothing to cancel
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(here)
    here["ti"].state = state

    operator.on_kill()

    (batch_id,) = deferred.value.trigger.batch_ids
    assert (not task.client.get_batch(batch_id).status.may_be_cancelled) is is_cancelled


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param(None, TriggerEventError, id="none"),
        pytest.param({"status": "success"}, TriggerEventError, id="foreign"),
        pytest.param(WaitEvent("gave_up", ("b",), 1.0, ("b",), "Gone.").to_event(), WaitingFailedError, id="gave-up"),
    ],
)
def test_resume_without_a_good_event_is_no_success(task: Task, event: Any, error: type[BatchError]) -> None:
    """A missing or unknown event and an outage raise errors that a retry can mend."""
    task.defer()

    with pytest.raises(error) as caught:
        task.operator(deferrable=True).execute_complete(context(), event)

    assert not isinstance(caught.value, AirflowFailException)


def test_a_service_that_answers_again_is_waited_for(task: Task) -> None:
    """The triggerer could not ask for too long, but the worker can: the run goes on, and nothing is paid twice."""
    first = task.defer()
    ids = tuple(first.trigger.batch_ids)
    event = WaitEvent("gave_up", ids, 1.0, ids, "Gone.").to_event()

    with pytest.raises(TaskDeferred) as again:
        task.operator(deferrable=True).execute_complete(context(), event)

    assert again.value.trigger.batch_ids == list(ids)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"fail_on": "sometimes"}, id="fail_on"),
        pytest.param({"fail_on": 1.5}, id="share"),
        pytest.param({"max_active_batches": 0}, id="max_active_batches"),
        pytest.param({"max_rounds": 0}, id="max_rounds"),
        pytest.param({"on_unknown_submission": "Fail"}, id="on_unknown_submission"),
        pytest.param({"on_changed_input": "restrat"}, id="on_changed_input"),
        pytest.param({"if_finished": "again"}, id="if_finished"),
    ],
)
def test_wrong_parameters_are_final_and_found_before_a_call(task: Task, changes: dict[str, Any]) -> None:
    """Mistakes in parameters fail the task at once, and nothing is sent."""
    with pytest.raises(ConfigurationError, match=f"`{next(iter(changes))}` must be") as caught:
        task.execute(**changes)

    assert isinstance(caught.value, AirflowFailException)
    assert sum(task.server.calls.values()) == 0


def test_wrong_input_is_final_and_nothing_is_sent(task: Task) -> None:
    """What is wrong with the input stays wrong."""
    task.write(ECHO)
    with pytest.raises(InputError, match="batch is for") as caught:
        task.execute(endpoint="/v1/embeddings")

    assert isinstance(caught.value, AirflowFailException)
    assert sum(task.server.calls.values()) == 0


def test_a_run_refused_as_a_whole_is_final(task: Task) -> None:
    """The service's reason is the task's error."""
    task.write("sandbox-missing-model")

    with pytest.raises(BatchFailedError, match="invalid_model") as caught:
        task.execute()

    assert isinstance(caught.value, AirflowFailException)


def test_a_foreign_journal_is_final_and_an_unreadable_one_is_not(task: Task) -> None:
    """Two tasks sharing a folder is a mistake; a journal that cannot be read may be readable soon."""
    task.defer()
    with pytest.raises(
        ForeignJournalError, match=r"nightly\.label run .*; this task is nightly\.label\[3\]"
    ) as foreign:
        task.operator().execute(context(map_index=3))
    (task.output / "_run" / "journal.json").write_bytes(b"{")
    with pytest.raises(JournalUnreadableError) as unreadable:
        task.execute(2)

    assert isinstance(foreign.value, AirflowFailException)
    assert not isinstance(unreadable.value, AirflowFailException)
