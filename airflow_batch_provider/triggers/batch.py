"""``BatchTrigger``: waits in the triggerer, together with all others, without a worker and without blocking its loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.core.patience import DEFAULT_MAX_POLL_SECONDS, DEFAULT_POLL_SECONDS, WatchPolicy
from airflow_batch_provider.core.progress import ProgressReporter, progress_value
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.core.watching import Done, GaveUp, TimedOut, Watch
from airflow_batch_provider.exceptions import ApiError, ConfigurationError
from airflow_batch_provider.hooks.batch import BatchHook
from airflow_batch_provider.hooks.killed import is_killed_async
from airflow_batch_provider.hooks.progress import publish_progress

if TYPE_CHECKING:
    from airflow_batch_provider.client import ServiceSettings
    from airflow_batch_provider.polling import News

log = logging.getLogger(__name__)

# An event within seconds of the deferral can meet the scheduler before it has noted the deferral, which then fails the
# task ("finished with state success, but the task instance's state attribute is queued"; apache/airflow#67287).
FIRST_LOOK_SECONDS = 12.0
FIRST_ANSWER_SECONDS = 30.0

_background: set[asyncio.Task[None]] = set()


class BatchTrigger(BaseTrigger):
    """
    Fires once, when all batches have ended, the deadline has passed, or the service could not be asked for too long.

    :param conn_id: Connection of type ``batch``.
    :param batch_ids: The batches. None at all is a wait for the deadline, for a task that may send again then.
    :param deadline_at: Epoch seconds after which waiting ends; wall-clock, so that a restart does not prolong it.
    :param poll_interval: Shortest pause between looks, in seconds; pauses grow with the batches' age.
    :param max_poll_interval: Longest pause.
    :param started_at: Epoch seconds when waiting began.
    :param cancel_on_kill: Cancel the batches when the task is marked failed while waiting (Airflow 3.3 and newer).
    :param any_after: Fire also when so many seconds have passed since one of the batches was first seen ended: 0 for a
        task that has more to send, None to wait for all.
    :param standing: How far the run is that waits, for log and XCom; None for a wait of its own.
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
        any_after: float | None = None,
        standing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.batch_ids = list(batch_ids)
        self.deadline_at = deadline_at
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.started_at = time.time() if started_at is None else started_at
        self.cancel_on_kill = cancel_on_kill
        self.any_after = any_after
        self.standing = standing
        self._shows_progress = True  # until it turns out that this Airflow cannot

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
                "any_after": self.any_after,
                "standing": self.standing,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, log progress once per change, and yield one event."""
        if self.batch_ids:
            event = await self._wait()
        else:
            await asyncio.sleep(self.deadline_at - time.time())
            event = self._event(TimedOut(()))
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
        # Not while DAGs are parsed: it loads the client.
        from airflow_batch_provider.polling import join, leave

        policy = WatchPolicy(poll_interval=self.poll_interval, max_poll_interval=self.max_poll_interval)
        watch = Watch(
            self.batch_ids,
            started_at=self.started_at,
            deadline_at=self.deadline_at,
            policy=policy,
            any_after=self.any_after,
        )
        reporter = ProgressReporter(watch, Standing.from_dict(self.standing))
        first_look_at = self._first_look_at()
        mailbox = join(self.conn_id, self._load_settings, watch.batch_ids, policy, self.started_at, first_look_at)
        try:
            # One answer before any verdict: the deadline may have passed while no triggerer ran, and the batch ended.
            until = max(self.deadline_at, max(first_look_at, time.time()) + FIRST_ANSWER_SECONDS)
            while True:
                self._take(await mailbox.news(until), watch)
                await self._report(watch, reporter)
                if (end := watch.verdict(time.time())) is not None:
                    return self._event(end)
                until = watch.verdict_at()
        finally:
            await leave(self.conn_id, mailbox)

    async def _load_settings(self) -> ServiceSettings:
        try:
            return await BatchHook(self.conn_id).get_async_settings()
        except AirflowException as error:  # deleted, and says so in Airflow's words
            raise ConfigurationError(f"{str(error).rstrip('.')}. Create the connection again before a retry.") from None

    def _take(self, news: list[News], watch: Watch) -> None:
        from airflow_batch_provider.polling import Miss, Recovered
        from airflow_batch_provider.waiting import note_miss

        now = time.time()
        for item in news:
            match item:
                case Miss(batch_id, error):
                    if note_miss(watch, batch_id, error, now):
                        log.warning("%s Waiting goes on.", error)
                case Recovered(batch_id):
                    watch.recover(batch_id)
                case _:
                    watch.observe(item, now)

    async def _report(self, watch: Watch, reporter: ProgressReporter) -> None:
        now = time.time()
        if (line := reporter.next_line(now)) is None:
            return
        log.info(line)
        if self.task_instance is not None and self._shows_progress and watch.open_ids():
            value = progress_value(watch, line, now, Standing.from_dict(self.standing))
            self._shows_progress = await publish_progress(self.task_instance, value)

    def _first_look_at(self) -> float:
        # dag.test() has no task instance here and no scheduler to race with.
        first = min(self.started_at + self.poll_interval, self.deadline_at)
        return first if self.task_instance is None else max(first, self.started_at + FIRST_LOOK_SECONDS)

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
