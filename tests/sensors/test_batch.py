"""The sensor in its three modes."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.exceptions import (
    BatchExpiredError,
    BatchFailedError,
    ConfigurationError,
    NotFoundError,
    RequestsFailedError,
)
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.sensors.batch import BatchSensor
from tests.contexts import task_context
from tests.samples import create_batch
from tests.waits import ended


def sensor(batch_id: Any, **changes: Any) -> BatchSensor:
    """Build the sensor under test."""
    return BatchSensor(task_id="wait", batch_id=batch_id, **{"poke_interval": 0.05, "timeout": 20} | changes)


def test_pokes_until_the_end(client: BatchClient) -> None:
    """In poke mode the sensor returns the ended batch as plain data."""
    batch = create_batch(client)

    found = sensor(batch.id).execute(task_context())

    assert (found["id"], found["status"]) == (batch.id, "completed")


def test_several_batches(client: BatchClient) -> None:
    """A list of ids gives a list of batches, in its order."""
    ids = [create_batch(client, requests=n).id for n in (1, 5, 2)]

    found = sensor(ids).execute(task_context())

    assert [batch["id"] for batch in found] == ids


def test_reschedule_pokes_once(client: BatchClient) -> None:
    """A single poke answers "not yet" for a running batch and "done" with the batch for an ended one."""
    batch = create_batch(client, sandbox="stall=true")
    done = ended(client, create_batch(client))

    assert not sensor(batch.id, mode="reschedule").poke(task_context())
    assert sensor(done.id, mode="reschedule").poke(task_context()).xcom_value["status"] == "completed"


def test_defers_with_one_trigger_for_all(client: BatchClient) -> None:
    """Deferrable, one trigger waits for all batches, and never cancels what the sensor did not create."""
    ids = [create_batch(client, sandbox="stall=true").id for _ in range(3)]

    with pytest.raises(TaskDeferred) as deferred:
        sensor(ids, deferrable=True).execute(task_context())

    assert deferred.value.trigger.batch_ids == ids
    assert deferred.value.trigger.cancel_on_kill is False


def test_does_not_defer_for_what_has_ended(client: BatchClient) -> None:
    """The status is asked once before deferring."""
    batch = ended(client, create_batch(client))

    assert sensor(batch.id, deferrable=True).execute(task_context())["status"] == "completed"


def test_resumes_on_the_event(client: BatchClient) -> None:
    """After the trigger fired the sensor returns the batch as it is now."""
    batch = ended(client, create_batch(client))
    event = WaitEvent("ended", (batch.id,), 4e9).to_event()

    assert sensor(batch.id).execute_complete(task_context(), event)["id"] == batch.id


def test_deadline_is_a_sensor_timeout(client: BatchClient) -> None:
    """When the wait timed out, Airflow sees its own sensor timeout, in our words."""
    event = WaitEvent("timed_out", ("batch_1",), 1.0, ("batch_1",)).to_event()

    with pytest.raises(AirflowSensorTimeout, match="batch_1 did not end by 1970-01-01T00:00Z; it is still running"):
        sensor("batch_1").execute_complete(task_context(), event)


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "poke"])
@pytest.mark.parametrize(
    ("directives", "error"),
    [
        pytest.param("outcome=failed", BatchFailedError, id="failed"),
        pytest.param("outcome=expired", BatchExpiredError, id="expired"),
        pytest.param("fail_rows=1", RequestsFailedError, id="nothing-succeeded"),
    ],
)
def test_bad_ends_fail_for_good(client: BatchClient, directives: str, error: type[Exception], deferrable: bool) -> None:
    """A bad end has its own type in each mode and is not retried."""
    batch = ended(client, create_batch(client, sandbox=directives))

    with pytest.raises(error) as caught:
        sensor(batch.id, deferrable=deferrable).execute(task_context())

    assert isinstance(caught.value, AirflowFailException)


def test_soft_fail_skips(client: BatchClient) -> None:
    """With ``soft_fail`` a bad end skips the task, as with any sensor."""
    batch = ended(client, create_batch(client, sandbox="outcome=failed"))

    with pytest.raises(AirflowSkipException):
        sensor(batch.id, soft_fail=True).execute(task_context())


def test_outage_is_waited_out(client: BatchClient, sandbox: SandboxServer) -> None:
    """A poke that the service cannot answer is not the end of the wait."""
    batch = ended(client, create_batch(client))
    sandbox.faults.add("GET /batches/{id}", "status", times=1, status=503)
    waiting = sensor(batch.id)

    assert not waiting.poke(task_context())
    assert waiting.poke(task_context())


def test_outage_before_deferring_is_waited_out_too(client: BatchClient, sandbox: SandboxServer) -> None:
    """When the first look meets an outage, the sensor defers instead of failing."""
    batch = ended(client, create_batch(client))
    sandbox.faults.add("GET /batches/{id}", "status", times=1, status=503)

    with pytest.raises(TaskDeferred):
        sensor(batch.id, deferrable=True).execute(task_context())


def test_unknown_batch_fails_at_once(client: BatchClient) -> None:
    """A batch the service does not know will not appear: the poke fails with the service's words."""
    with pytest.raises(NotFoundError, match="batch_nowhere"):
        sensor("batch_nowhere").poke(task_context())


@pytest.mark.parametrize("nothing", ["", [], None, ["batch_1", ""]])
def test_empty_id_is_a_mistake_in_the_dag(client: BatchClient, nothing: Any) -> None:
    """An empty id, as from an XCom that was never pushed, is named instead of asked for."""
    with pytest.raises(ConfigurationError, match="`batch_id` is empty"):
        sensor(nothing).execute(task_context())
