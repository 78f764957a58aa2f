"""``BatchTrigger``: waits for batches in the triggerer, without a worker and without blocking its event loop."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.core.progress import ProgressReporter
from airflow_batch_provider.core.watching import (
    DEFAULT_MAX_POLL_SECONDS,
    DEFAULT_POLL_SECONDS,
    Done,
    GaveUp,
    KeepWaiting,
    TimedOut,
    Watch,
    WatchPolicy,
)
from airflow_batch_provider.exceptions import ApiError, ConfigurationError
from airflow_batch_provider.hooks.batch import BatchHook
from airflow_batch_provider.hooks.killed import is_killed_async

if TYPE_CHECKING:
    from airflow_batch_provider.client import AsyncBatchClient

log = logging.getLogger(__name__)

LOOKS_AT_A_TIME = 5
# An event within seconds of the deferral can meet the scheduler before it has noted the deferral, which then fails the
# task ("finished with state success, but the task instance's state attribute is queued"; apache/airflow#67287).
FIRST_LOOK_SECONDS = 12.0

_background: set[asyncio.Task[None]] = set()


class BatchTrigger(BaseTrigger):
    """
    Fires once, when all batches have ended, the deadline has passed, or the service could not be asked for too long.

    :param conn_id: Connection of type ``batch``.
    :param batch_ids: The batches.
    :param deadline_at: Epoch seconds after which waiting ends; wall-clock, so that a restart does not prolong it.
    :param poll_interval: Shortest pause between looks, in seconds; pauses grow with the batches' age.
    :param max_poll_interval: Longest pause.
    :param started_at: Epoch seconds when waiting began.
    :param cancel_on_kill: Cancel the batches when the task is marked failed while waiting (Airflow 3.3 and newer).
    :param for_any: Fire as soon as one of the batches has ended, for a task that has more to send.
    """

    def __init__(
        self,
        conn_id: str,
        batch_ids: Sequence[str],
        deadline_at: float,
        poll_interval: float = DEFAULT_POLL_SECONDS,
        max_poll_interval: float = DEFAULT_MAX_POLL_SECONDS,
        started_at: float | None = None,
        cancel_on_kill: bool = True,
        for_any: bool = False,
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.batch_ids = list(batch_ids)
        self.deadline_at = deadline_at
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.started_at = time.time() if started_at is None else started_at
        self.cancel_on_kill = cancel_on_kill
        self.for_any = for_any

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and plain arguments; no secrets: the connection is read where the trigger runs."""
        return (
            "airflow_batch_provider.triggers.batch.BatchTrigger",
            {
                "conn_id": self.conn_id,
                "batch_ids": self.batch_ids,
                "deadline_at": self.deadline_at,
                "poll_interval": self.poll_interval,
                "max_poll_interval": self.max_poll_interval,
                "started_at": self.started_at,
                "cancel_on_kill": self.cancel_on_kill,
                "for_any": self.for_any,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, log progress once per change, and yield one event."""
        try:
            event = await self._wait()
        except (ConfigurationError, AirflowException) as error:
            # A deleted or broken connection: the worker says so in the task's own error, instead of a trigger failure.
            event = self._event(GaveUp(tuple(self.batch_ids), f"{error}"))
        yield TriggerEvent(event.to_event())

    async def on_kill(self) -> None:
        """Cancel the batches if the task was really killed. Airflow gives this about a second, so it goes on behind."""
        if not self.cancel_on_kill:
            return
        task = asyncio.get_running_loop().create_task(self._cancel_if_killed())
        _background.add(task)
        task.add_done_callback(_background.discard)
        await asyncio.shield(task)

    async def _wait(self) -> WaitEvent:
        policy = WatchPolicy(poll_interval=self.poll_interval, max_poll_interval=self.max_poll_interval)
        watch = Watch(self.batch_ids, started_at=self.started_at, deadline_at=self.deadline_at, policy=policy)
        reporter = ProgressReporter(watch)
        await asyncio.sleep(self._first_pause())
        # No retries inside a look: the watch itself is patient, and a sleeping client would hold up the others.
        async with await BatchHook(self.conn_id).get_async_conn(max_retries=0) as client:
            while True:
                await self._look(client, watch)
                if line := reporter.next_line(time.time()):
                    self.log.info(line)
                if self.for_any and len(watch.open_ids()) < len(watch.batch_ids):
                    return self._event(Done())
                decision = watch.decide(time.time(), jitter=random.random())
                if not isinstance(decision, KeepWaiting):
                    return self._event(decision)
                await asyncio.sleep(max(0.0, decision.look_again_at - time.time()))

    async def _look(self, client: AsyncBatchClient, watch: Watch) -> None:
        from airflow_batch_provider.waiting import note_miss

        gate = asyncio.Semaphore(LOOKS_AT_A_TIME)

        async def look_at(batch_id: str) -> None:
            async with gate:
                try:
                    watch.observe(await client.get_batch(batch_id), time.time())
                except ApiError as error:
                    if note_miss(watch, batch_id, error, time.time()):
                        self.log.warning("%s Waiting goes on.", error)

        await asyncio.gather(*(look_at(batch_id) for batch_id in watch.open_ids()))

    def _first_pause(self) -> float:
        # dag.test() has no task instance here and no scheduler to race with.
        pause = self.poll_interval if self.task_instance is None else max(self.poll_interval, FIRST_LOOK_SECONDS)
        return max(0.0, min(self.started_at + pause, self.deadline_at) - time.time())

    def _event(self, decision: Done | TimedOut | GaveUp) -> WaitEvent:
        ids = tuple(self.batch_ids)
        match decision:
            case Done():
                return WaitEvent("ended", ids, self.deadline_at)
            case TimedOut(open_ids):
                return WaitEvent("timed_out", ids, self.deadline_at, open_ids)
            case GaveUp(open_ids, reason):
                return WaitEvent("gave_up", ids, self.deadline_at, open_ids, reason)

    async def _cancel_if_killed(self) -> None:
        if not await is_killed_async(self.task_instance):
            return
        async with await BatchHook(self.conn_id).get_async_conn() as client:
            for batch_id in self.batch_ids:
                try:
                    batch = await client.cancel_batch(batch_id)
                    log.warning("The task was marked failed: batch %s is now %s.", batch_id, batch.status.value)
                except ApiError as error:
                    log.warning("The task was marked failed, but batch %s could not be cancelled: %s", batch_id, error)
