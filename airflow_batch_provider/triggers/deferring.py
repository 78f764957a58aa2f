"""From a task to a trigger and back: what operators and sensors share about deferred waiting."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.exceptions import ApiError, JobError, WaitingFailedError
from airflow_batch_provider.hooks.batch import BatchHook

log = logging.getLogger(__name__)

# The trigger's own deadline comes first, so that the task ends with our words and not with a bare timeout.
BACKSTOP_SECONDS = 600.0


@dataclass(frozen=True)
class Wait:
    """
    A wait that may be deferred.

    :param conn_id: Connection of type ``batch``.
    :param batch_ids: The batches.
    :param deadline_at: Epoch seconds after which waiting ends.
    :param poll_interval: Shortest pause between looks, in seconds.
    :param cancel_on_kill: Cancel the batches when the task is marked failed meanwhile.
    """

    conn_id: str
    batch_ids: tuple[str, ...]
    deadline_at: float
    poll_interval: float
    cancel_on_kill: bool

    def look(self, hook: BatchHook) -> list[Batch] | None:
        """
        Ask for all batches, once.

        :param hook: The connection.
        :returns: The batches when all have ended; None when they have not, or the service has an outage, which the
            wait that follows sits out.
        :raises ApiError: The service refuses the question.
        """
        try:
            return _if_ended(self._ask(hook))
        except ApiError as error:
            if not error.retryable:
                raise
            log.warning("%s Waiting goes on.", error)
            return None

    def settle(self, hook: BatchHook, error: JobError | None) -> list[Batch] | None:
        """
        Look once more after the trigger fired: its event is a hint. The batches may have ended meanwhile, and a service
        that could not be asked may answer again.

        :param hook: The connection.
        :param error: What the event says went wrong, if anything.
        :returns: The batches when all have ended; None when they are to be waited for again.
        :raises JobError: ``error``, when they cannot be asked for, or have not ended in time.
        """
        if error is None:
            return self.look(hook)
        try:
            ended = _if_ended(self._ask(hook))
        except Exception:  # noqa: BLE001 - also Airflow's, when the connection is gone
            raise error from None
        if ended is None and not isinstance(error, WaitingFailedError):
            raise error
        return ended

    def defer(self, task: Any) -> NoReturn:
        """
        Hand the wait to the triggerer; the task resumes in its ``execute_complete``.

        :param task: The operator or sensor.
        """
        # Here, because Airflow's trigger base costs every DAG file that only names an operator.
        from airflow_batch_provider.triggers.batch import BatchTrigger

        noun = f"batch {self.batch_ids[0]}" if len(self.batch_ids) == 1 else f"{len(self.batch_ids)} batches"
        until = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(self.deadline_at))
        task.log.info("Waiting for %s; deadline %s. Nothing holds a worker meanwhile.", noun, until)
        trigger = BatchTrigger(
            conn_id=self.conn_id,
            batch_ids=self.batch_ids,
            deadline_at=self.deadline_at,
            poll_interval=self.poll_interval,
            cancel_on_kill=self.cancel_on_kill,
        )
        left = max(0.0, self.deadline_at - time.time()) + BACKSTOP_SECONDS
        task.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=left))
        raise RuntimeError("Airflow did not defer the task.")

    def _ask(self, hook: BatchHook) -> list[Batch]:
        return [hook.get_batch(batch_id) for batch_id in self.batch_ids]


def _if_ended(batches: list[Batch]) -> list[Batch] | None:
    return batches if all(batch.status.has_ended for batch in batches) else None


def ended_well(event: Any) -> tuple[WaitEvent, JobError | None]:
    """
    Read a trigger's event.

    :param event: What Airflow hands to ``execute_complete``.
    :returns: The event, and the exception to raise when the wait did not end with the batches.
    :raises TriggerEventError: The event is missing or malformed.
    """
    from airflow_batch_provider.waiting import gave_up_error, timeout_error

    read = WaitEvent.from_event(event)
    if read.outcome == "timed_out":
        return read, timeout_error(read.open_ids, read.deadline_at, len(read.batch_ids))
    if read.outcome == "gave_up":
        return read, gave_up_error(read.open_ids, read.reason)
    return read, None
