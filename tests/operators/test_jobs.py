"""Operators that start and stop batches."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    BatchCancelledError,
    BatchError,
    BatchExpiredError,
    BatchFailedError,
    BatchTimeoutError,
    ConfigurationError,
    RequestsFailedError,
    SubmissionUnknownError,
    TriggerEventError,
    WaitingFailedError,
)
from airflow_batch_provider.operators.batch import CancelBatchOperator, CreateBatchOperator
from airflow_batch_provider.sandbox import SandboxServer
from tests.contexts import FakeTaskInstance, FakeTaskStateStore, task_context
from tests.samples import ENDPOINT, create_batch
from tests.waits import ended


@pytest.fixture
def file_id(client: BatchClient) -> str:
    """Give an uploaded file of three requests."""
    batch = create_batch(client, sandbox="outcome=failed")
    return str(batch.input_file_id)


def create(file_id: str, **changes: Any) -> CreateBatchOperator:
    """Build the operator under test."""
    arguments: dict[str, Any] = {"input_file_id": file_id, "endpoint": ENDPOINT, "poll_interval": 0.05, "timeout": 20}
    return CreateBatchOperator(task_id="create", **arguments | changes)


def made(sandbox: SandboxServer) -> list[dict[str, Any]]:
    """List batches that the operator made."""
    return [batch for batch in sandbox.batches() if "airflow_key" in (batch["metadata"] or {})]


def test_returns_the_id_and_names_the_task_in_the_metadata(
    client: BatchClient, sandbox: SandboxServer, file_id: str
) -> None:
    """The batch carries the user's metadata, who made it, and a key to find it by."""
    batch_id = create(file_id, metadata={"team": "search"}).execute(task_context(store=FakeTaskStateStore()))

    (batch,) = made(sandbox)
    metadata = batch["metadata"]
    assert batch["id"] == batch_id
    assert metadata["team"] == "search"
    assert (metadata["airflow_dag_id"], metadata["airflow_task_id"]) == ("nightly", "create")
    assert (metadata["airflow_run_id"], metadata["airflow_map_index"]) == ("scheduled__2026-11-24", "-1")


@pytest.mark.parametrize("has_store", [pytest.param(True, id="airflow-3.3"), pytest.param(False, id="older")])
def test_retry_takes_the_batch_of_the_earlier_try(
    client: BatchClient, sandbox: SandboxServer, file_id: str, has_store: bool
) -> None:
    """A second try, with or without a state store, returns the first one's batch and pays nothing."""
    store = FakeTaskStateStore() if has_store else None
    first = create(file_id).execute(task_context(store=store))

    second = create(file_id).execute(task_context(FakeTaskInstance(try_number=2), store))

    assert first == second
    assert len(made(sandbox)) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"run_id": "scheduled__2026-11-25"}, id="other-run"),
        pytest.param({"map_index": 1}, id="other-mapped-task"),
        pytest.param({"task_id": "create_again"}, id="other-task"),
    ],
)
def test_other_task_instances_make_their_own(
    client: BatchClient, sandbox: SandboxServer, file_id: str, other: dict[str, Any]
) -> None:
    """The same file in another run, task or mapped task is another batch."""
    create(file_id).execute(task_context(store=FakeTaskStateStore()))

    create(file_id).execute(task_context(FakeTaskInstance(try_number=2, **other), FakeTaskStateStore()))

    assert len(made(sandbox)) == 2


@pytest.mark.parametrize("has_store", [pytest.param(True, id="airflow-3.3"), pytest.param(False, id="older")])
@pytest.mark.parametrize("status", [pytest.param(None, id="dropped"), pytest.param(500, id="500")])
def test_lost_answer_is_not_paid_twice(
    client: BatchClient, sandbox: SandboxServer, file_id: str, has_store: bool, status: int | None
) -> None:
    """When the answer to the paid call is lost, the batch is found at the service, at once or by the retry."""
    sandbox.faults.add("POST /batches", "lost_answer", times=1, **({"status": status} if status else {}))
    store = FakeTaskStateStore() if has_store else None

    found = create(file_id).execute(task_context(store=store))

    assert [batch["id"] for batch in made(sandbox)] == [found]


def test_lost_answer_and_no_list_fails_retryably(client: BatchClient, sandbox: SandboxServer, file_id: str) -> None:
    """When the service cannot be asked either, the try fails, and the retry finds the batch."""
    sandbox.faults.add("POST /batches", "lost_answer", times=1)
    sandbox.faults.add("GET /batches", "status", status=503)
    store = FakeTaskStateStore()
    with pytest.raises(SubmissionUnknownError, match="not known whether") as caught:
        create(file_id).execute(task_context(store=store))
    with pytest.raises(SubmissionUnknownError, match="Nothing was created by this try"):
        create(file_id).execute(task_context(FakeTaskInstance(try_number=2), store))
    sandbox.faults.clear()

    found = create(file_id).execute(task_context(FakeTaskInstance(try_number=3), store))

    assert not isinstance(caught.value, AirflowFailException)
    assert [batch["id"] for batch in made(sandbox)] == [found]


def test_waits_on_the_worker(client: BatchClient, file_id: str) -> None:
    """Not deferrable, the operator returns when the batch has ended, and pushes the batch."""
    ti = FakeTaskInstance()

    batch_id = create(file_id, wait_for_completion=True, deferrable=False).execute(
        task_context(ti, FakeTaskStateStore())
    )

    assert ti.xcoms["batch"]["id"] == batch_id
    assert ti.xcoms["batch"]["status"] == "completed"
    assert ti.xcoms["batch"]["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_defers_and_resumes(client: BatchClient, file_id: str) -> None:
    """Deferrable, it hands the wait to a trigger with a deadline inside the backstop, and resumes on its event."""
    operator = create(file_id, wait_for_completion=True, deferrable=True, timeout=100)
    context = task_context(store=FakeTaskStateStore())

    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    trigger = deferred.value.trigger
    batch = ended(client, client.get_batch(trigger.batch_ids[0]))
    event = WaitEvent("ended", (batch.id,), trigger.deadline_at).to_event()

    assert deferred.value.method_name == "execute_complete"
    assert 0 < trigger.deadline_at - time.time() <= 100 < deferred.value.timeout.total_seconds()
    assert create(file_id).execute_complete(context, event) == batch.id


def test_does_not_defer_for_what_has_ended(client: BatchClient, file_id: str) -> None:
    """The status is asked once before deferring: a retry after the end finishes at once."""
    store = FakeTaskStateStore()
    first = create(file_id).execute(task_context(store=store))
    ended(client, client.get_batch(first))

    again = create(file_id, wait_for_completion=True, deferrable=True).execute(
        task_context(FakeTaskInstance(try_number=2), store)
    )

    assert again == first


def test_defers_again_when_the_batch_has_not_ended(client: BatchClient, file_id: str) -> None:
    """An event is not taken on trust: a batch that is still running is waited for again, to the same deadline."""
    batch = create_batch(client, sandbox="stall=true")
    event = WaitEvent("ended", (batch.id,), 4e9).to_event()

    with pytest.raises(TaskDeferred) as deferred:
        create(file_id).execute_complete(task_context(), event)

    assert deferred.value.trigger.deadline_at == 4e9


@pytest.mark.parametrize(
    ("directives", "error", "is_final"),
    [
        pytest.param("outcome=failed", BatchFailedError, True, id="failed"),
        pytest.param("queue_full=true", BatchFailedError, False, id="queue-full"),
        pytest.param("outcome=expired expire_after=0.5", BatchExpiredError, True, id="expired"),
        pytest.param("outcome=cancelled", BatchCancelledError, True, id="cancelled"),
        pytest.param("fail_rows=1", RequestsFailedError, True, id="nothing-succeeded"),
    ],
)
def test_bad_ends_are_told_apart_by_type(
    client: BatchClient, file_id: str, directives: str, error: type[BatchError], is_final: bool
) -> None:
    """Each bad end has its own exception; only what a retry can change leaves room for one."""
    operator = create(file_id, wait_for_completion=True, deferrable=False, metadata={"sandbox": directives})

    with pytest.raises(error) as caught:
        operator.execute(task_context(store=FakeTaskStateStore()))

    assert isinstance(caught.value, AirflowFailException) is is_final


def test_fail_on_never_leaves_the_verdict_to_the_user(client: BatchClient, file_id: str) -> None:
    """With ``fail_on="never"`` an expired batch is an answer like any other."""
    ti = FakeTaskInstance()
    operator = create(
        file_id, wait_for_completion=True, deferrable=False, fail_on="never", metadata={"sandbox": "outcome=expired"}
    )

    operator.execute(task_context(ti, FakeTaskStateStore()))

    assert ti.xcoms["batch"]["status"] == "expired"


def test_fail_on_any_minds_single_requests(client: BatchClient, file_id: str) -> None:
    """With ``fail_on="any"`` one failed request is enough, and the text names the error file."""
    operator = create(
        file_id, wait_for_completion=True, deferrable=False, fail_on="any", metadata={"sandbox": "fail_rows=0.4"}
    )

    with pytest.raises(RequestsFailedError, match="error file file-"):
        operator.execute(task_context(store=FakeTaskStateStore()))


def test_failed_batch_is_made_anew_by_a_retry(client: BatchClient, sandbox: SandboxServer, file_id: str) -> None:
    """A batch that ended without success is not adopted: the next try pays for a new one."""
    store = FakeTaskStateStore()
    first = create(file_id, metadata={"sandbox": "outcome=failed"}).execute(task_context(store=store))
    ended(client, client.get_batch(first))

    second = create(file_id).execute(task_context(FakeTaskInstance(try_number=2), store))

    assert second != first
    assert len(made(sandbox)) == 2


def test_deadline_on_the_worker(client: BatchClient, file_id: str) -> None:
    """After ``timeout`` the task fails, the batch goes on, and the text says so."""
    operator = create(
        file_id, wait_for_completion=True, deferrable=False, timeout=0.2, metadata={"sandbox": "stall=true"}
    )
    with pytest.raises(BatchTimeoutError, match="still running and billed. A retry waits again") as caught:
        operator.execute(task_context(store=FakeTaskStateStore()))

    (batch_id,) = caught.value.batch_ids
    assert client.get_batch(batch_id).status.may_be_cancelled
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param(None, TriggerEventError, id="none"),
        pytest.param({"status": "success"}, TriggerEventError, id="foreign"),
        pytest.param(WaitEvent("timed_out", ("b",), 1.0, ("b",)).to_event(), BatchTimeoutError, id="timed-out"),
        pytest.param(WaitEvent("gave_up", ("b",), 1.0, ("b",), "Gone.").to_event(), WaitingFailedError, id="gave-up"),
    ],
)
def test_resume_without_a_good_event_is_no_success(
    client: BatchClient, file_id: str, event: Any, error: type[BatchError]
) -> None:
    """A missing or unknown event, a deadline and an outage each raise their own error."""
    with pytest.raises(error):
        create(file_id).execute_complete(task_context(), event)


@pytest.mark.parametrize("outcome", ["timed_out", "gave_up"])
def test_a_batch_that_ended_meanwhile_is_no_timeout(client: BatchClient, file_id: str, outcome: Any) -> None:
    """A deadline that passed while no triggerer ran, or an outage at the end: what counts is the batch as it is now."""
    batch = ended(client, create_batch(client))
    event = WaitEvent(outcome, (batch.id,), 1.0, (batch.id,), "Gone.").to_event()

    assert create(file_id).execute_complete(task_context(), event) == batch.id


@pytest.mark.parametrize(
    ("outcome", "goes_on"),
    [pytest.param("gave_up", True, id="gave-up"), pytest.param("timed_out", False, id="timed-out")],
)
def test_a_service_that_answers_again_is_waited_for(
    client: BatchClient, file_id: str, outcome: Any, goes_on: bool
) -> None:
    """The triggerer could not ask for too long, but the worker can: the wait goes on. A deadline is a deadline."""
    batch = create_batch(client, sandbox="stall=true")
    event = WaitEvent(outcome, (batch.id,), time.time() + 100, (batch.id,), "Gone.").to_event()

    with pytest.raises(TaskDeferred if goes_on else BatchTimeoutError):
        create(file_id).execute_complete(task_context(), event)


def test_a_deleted_connection_does_not_hide_what_goes_on(file_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task fails with the batch's own words: it runs on and is billed."""
    monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT")
    event = WaitEvent("gave_up", ("b",), 1.0, ("b",), "The conn_id `batch_default` isn't defined.").to_event()

    with pytest.raises(WaitingFailedError, match="isn't defined.*is billed"):
        create(file_id).execute_complete(task_context(), event)


def test_refused_create_is_final(client: BatchClient, sandbox: SandboxServer) -> None:
    """What the service refuses with a 4xx is not retried and was not created."""
    with pytest.raises(ApiStatusError) as caught:
        create("file-unknown").execute(task_context(store=FakeTaskStateStore()))

    assert isinstance(caught.value, AirflowFailException)
    assert made(sandbox) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"fail_on": "sometimes"}, id="fail_on"),
        pytest.param({"on_unknown_submission": "Fail"}, id="on_unknown_submission"),
        pytest.param({"metadata": {f"k{n}": "v" for n in range(12)}}, id="too-many-pairs"),
        pytest.param({"metadata": {"n": 5}}, id="not-a-string"),
        pytest.param({"extra_body": {"metadata": {}}}, id="metadata-in-extra-body"),
    ],
)
def test_wrong_parameters_are_found_before_paying(
    client: BatchClient, sandbox: SandboxServer, file_id: str, changes: dict[str, Any]
) -> None:
    """Mistakes in parameters are reported before the paid call."""
    with pytest.raises(ConfigurationError):
        create(file_id, **changes).execute(task_context(store=FakeTaskStateStore()))

    assert made(sandbox) == []


@pytest.mark.parametrize(
    ("state", "is_cancelled"),
    [pytest.param("failed", True, id="marked-failed"), pytest.param("running", False, id="worker-shut-down")],
)
def test_on_kill_of_a_worker(client: BatchClient, file_id: str, state: str, is_cancelled: bool) -> None:
    """A waiting worker that is stopped cancels the batch only when the task was marked failed."""
    ti = FakeTaskInstance()
    operator = create(file_id, wait_for_completion=True, deferrable=True, metadata={"sandbox": "stall=true"})
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task_context(ti, FakeTaskStateStore()))
    ti.state = state

    operator.on_kill()

    batch = client.get_batch(deferred.value.trigger.batch_ids[0])
    assert (not batch.status.may_be_cancelled) is is_cancelled


def test_cancel(client: BatchClient) -> None:
    """A running batch is cancelled; one that has ended is left as it is, and neither fails the task."""
    running = create_batch(client, sandbox="stall=true")
    done = ended(client, create_batch(client))

    first = CancelBatchOperator(task_id="cancel", batch_id=running.id).execute(task_context())
    second = CancelBatchOperator(task_id="cancel", batch_id=done.id).execute(task_context())

    assert first["status"] in ("cancelling", "cancelled")
    assert second["status"] == "completed"


def test_cancel_meets_an_end_in_between(client: BatchClient, sandbox: SandboxServer) -> None:
    """A refused cancel of a batch that ended in the meantime is no error; of a running one it is."""
    batch = create_batch(client, sandbox="stall=true")
    sandbox.faults.add("POST /batches/{id}/cancel", "status", times=1, status=409)

    with pytest.raises(ApiStatusError):
        CancelBatchOperator(task_id="cancel", batch_id=batch.id).execute(task_context())
