"""
The poller: looks at the batches of one connection for everybody who waits in this event loop.

It runs in a task of its own, in an empty context, so that its log lines never land in the log of the task whose trigger
happened to come first. It lives as long as somebody waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence

from airflow_batch_provider.client import AsyncBatchClient
from airflow_batch_provider.client.glances import Glance
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.health import MAX_PROBE_PAUSE_SECONDS, ServiceHealth
from airflow_batch_provider.core.listing import ListTrust
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.schedule import BUSY, Schedule, Watched
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    BatchError,
    ConfigurationError,
)
from airflow_batch_provider.polling.keeper import ClientKeeper, LoadSettings, OpenClient
from airflow_batch_provider.polling.looks import Look
from airflow_batch_provider.polling.mailboxes import TOLD_AT_A_TIME, Mailboxes
from airflow_batch_provider.polling.quiet import be_quiet
from airflow_batch_provider.polling.subscription import Miss, Recovered, Subscription

log = logging.getLogger(__name__)

# New subscriptions are collected for a moment, so that a thousand triggers of one start make ten pages of one look.
GATHER_FRACTION = 0.1
MAX_GATHER_SECONDS = 1.0
CROWD_IS_TOLD_EVERY = 1800.0
# Counts: not more often than people look, and ten a second for all tasks of a connection together.
PROGRESS_SECONDS = 60.0
PROGRESS_SECONDS_PER_BATCH = 0.1


class Poller:
    """
    Looks at batches, and tells subscribers what is new.

    :param name: The connection, for the log.
    :param load: Reads the connection.
    :param clock: Epoch seconds.
    :param jitter: Random numbers from 0 to 1.
    :param open_client: Opens a client; tests give it another network.
    """

    def __init__(
        self,
        name: str,
        load: LoadSettings,
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        open_client: OpenClient = AsyncBatchClient,
    ) -> None:
        self._name = name
        self._clock = clock
        self._jitter = jitter
        self._keeper = ClientKeeper(name, load, open_client)
        self._schedule = Schedule(jitter)
        self._trust = ListTrust()
        self._mailboxes = Mailboxes(clock)
        self._health = ServiceHealth()
        self._crowd_told = (0.0, 0.0)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Poller of {self._name}: {len(self._schedule)} batches, {len(self._mailboxes)} awaited>"

    def __len__(self) -> int:
        return len(self._mailboxes)

    @property
    def is_idle(self) -> bool:
        """True when nobody waits."""
        return not self._mailboxes

    def subscribe(
        self, batch_ids: Sequence[str], policy: WatchPolicy, since: float, not_before: float = 0.0
    ) -> Subscription:
        """
        Begin to tell somebody about batches.

        :param batch_ids: The batches.
        :param policy: How often to look.
        :param since: Epoch seconds when waiting began.
        :param not_before: Epoch seconds of the first look; nothing is told sooner.
        """
        subscription = Subscription(dict.fromkeys(batch_ids), not_before)
        first = max(not_before, self._clock() + min(MAX_GATHER_SECONDS, GATHER_FRACTION * policy.poll_interval))
        for batch_id in subscription.batch_ids:
            self._mailboxes.add(batch_id, subscription)
            watched = self._schedule.add(batch_id, policy, since=since, due_at=first)
            # What the others already heard.
            if watched.batch is not None:
                self._mailboxes.tell_one(subscription, watched.batch)
            if watched.trouble is not None:
                self._mailboxes.tell_one(subscription, Miss(batch_id, watched.trouble))
        self._wake.set()
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), context=contextvars.Context(), name=f"batches of {self._name}")
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """
        Stop telling somebody.

        :param subscription: What :meth:`subscribe` returned.
        """
        for batch_id in subscription.batch_ids:
            if self._mailboxes.remove(batch_id, subscription):
                self._schedule.remove(batch_id)

    async def stop(self) -> None:
        """End the task and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        be_quiet()
        try:
            while True:
                try:
                    await self._sleep()
                    await self._mailboxes.hand_out()
                    await self._look_at_what_is_due()
                except Exception as error:
                    # Whatever it is: those who wait must neither hang nor fail because of it.
                    log.exception("Looking at the batches of connection %s failed.", self._name)
                    words = f"The batches cannot be looked at ({type(error).__name__})."
                    await self._note(ApiConnectionError(words), ())
        finally:
            await self._keeper.close()

    async def _sleep(self) -> None:
        """Until something is due; a new subscription may make that sooner."""
        while True:
            self._wake.clear()
            due_at, told_at = self._schedule.next_due_at(), self._mailboxes.next_at()
            moments = [] if due_at is None else [max(due_at, self._health.not_before)]
            moments += [] if told_at is None else [told_at]
            seconds = min(moments) - self._clock() if moments else None
            if seconds is not None and seconds <= 0:
                return
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _look_at_what_is_due(self) -> None:
        if self._clock() < self._health.not_before:
            return
        due = self._schedule.due(self._clock(), at_most=1 if self._health.error else len(self._schedule))
        if not due:
            return
        trouble: BatchError | None
        try:
            client = await self._keeper.client(self._clock(), is_doubtful=self._health.error is not None)
            look = Look(
                client, self._schedule, self._trust, name=self._name, rate=self._health.rate,
                is_probe=self._health.error is not None, saw=self._saw, missed=self._missed, clock=self._clock,
            )  # fmt: skip
            await look.at(due)
            trouble = look.service_error
            if trouble is None:
                self._note_crowd(look.singles, due[0].pause)
        except ConfigurationError as error:
            trouble = error
        finally:
            self._give_back(due)
        await self._note(trouble, due)

    def _give_back(self, due: list[Watched]) -> None:
        for watched in due:
            if watched.due_at == BUSY and watched.id in self._schedule:
                if self._health.error is None:
                    self._schedule.give_back(watched)
                else:
                    # Behind the others: one batch that the service cannot tell about must not be every probe.
                    self._schedule.put_off(watched, self._clock())

    def _saw(self, watched: Watched, seen: Batch | Glance) -> bool:
        now = self._clock()
        watched.raised_alarm = watched.is_refused_alone = False
        mark = seen.mark if isinstance(seen, Glance) else None
        if mark is not None and mark == watched.mark and watched.trouble is None:
            self._schedule.looked(watched, now)
            return False
        batch = seen.to_batch() if isinstance(seen, Glance) else seen
        is_news = watched.see(batch, now, min_gap=self._gap())
        watched.mark = mark if batch.counts == watched.told_counts else None  # what was not told yet is looked at again
        if batch.status.has_ended:
            self._schedule.remove(watched.id)
        else:
            self._schedule.looked(watched, now)
        if is_news:
            self._mailboxes.tell(watched.id, batch)
        return is_news

    def _gap(self) -> float:
        return max(PROGRESS_SECONDS, PROGRESS_SECONDS_PER_BATCH * len(self._mailboxes))

    def _missed(self, watched: Watched, error: BatchError) -> None:
        """The service answers, but not about this batch."""
        self._schedule.looked(watched, self._clock())
        watched.trouble_is_shared = False
        self._tell_trouble(watched, error)

    def _tell_trouble(self, watched: Watched, error: BatchError) -> bool:
        if watched.trouble is not None and watched.trouble.retryable == error.retryable:
            return False
        watched.trouble = error
        self._mailboxes.tell(watched.id, Miss(watched.id, error))
        return True

    async def _note(self, error: BatchError | None, due: Iterable[Watched]) -> None:
        """What a look says about the service as a whole."""
        if error is None:
            if self._health.is_well():
                log.info("The batches of connection %s can be asked for again.", self._name)
                await self._end_shared_trouble()
            return
        shortest = min((watched.policy.poll_interval for watched in due), default=MAX_PROBE_PAUSE_SECONDS)
        if self._health.is_ill(error, self._clock(), shortest=shortest, jitter=self._jitter()):
            await self._tell_all(error)

    async def _tell_all(self, error: BatchError) -> None:
        told = 0
        for watched in self._schedule.all():
            if watched.trouble is None:
                watched.trouble_is_shared = True
            told += self._tell_trouble(watched, error)
            if told % TOLD_AT_A_TIME == 0:
                await asyncio.sleep(0)

    async def _end_shared_trouble(self) -> None:
        """Nobody's patience must end while a crowd waits for its turn to be asked for."""
        told = 0
        for watched in self._schedule.all():
            watched.is_refused_alone = watched.raised_alarm
            if watched.trouble is not None and watched.trouble_is_shared:
                watched.trouble = None
                self._mailboxes.tell(watched.id, Recovered(watched.id))
                told += 1
                if told % TOLD_AT_A_TIME == 0:
                    await asyncio.sleep(0)

    def _note_crowd(self, singles: int, pause: float) -> None:
        """Say when asking one by one takes longer than the pause, so that everybody waits for a turn."""
        now, seconds = self._clock(), singles / self._health.rate
        told_at, told = self._crowd_told
        if seconds <= pause or (now - told_at < CROWD_IS_TOLD_EVERY and seconds < 1.5 * told):
            return
        self._crowd_told = (now, seconds)
        log.warning(
            "The list of connection %s does not show %d of its batches: they are asked for one by one, %g a second at "
            "most, each about every %.0f s instead of every %.0f s.",
            self._name, singles, self._health.rate, seconds, pause,
        )  # fmt: skip
