"""One look at all batches that are due: pages where they are cheaper, single questions for the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from airflow_batch_provider.client import AsyncBatchClient
from airflow_batch_provider.client.glances import Glance
from airflow_batch_provider.client.wire import Page
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.listing import (
    LEAVE_ALONE_SECONDS,
    TOP,
    ListTrust,
    is_worth_searching,
    pages_to_search,
    plan_looks,
)
from airflow_batch_provider.core.schedule import Schedule, Watched
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    BatchError,
    RateLimitError,
)
from airflow_batch_provider.polling.mailboxes import TOLD_AT_A_TIME

log = logging.getLogger(__name__)

# A page of a hundred batches takes milliseconds to read, which the event loop's other triggers must not feel.
PAGES_AT_A_TIME = 2
QUESTIONS_AT_A_TIME = 8
# Bounds the questions of one look, so that a changed plan, connection or rate is not kept waiting; what is left comes
# first in the next look.
QUESTIONS_SECONDS = 25.0
# So many failures in a row mean that the service is down, and not that something is wrong with these batches.
FAILURES_OF_A_SERVICE = 5

Saw = Callable[[Watched, Batch | Glance], bool]
Missed = Callable[[Watched, BatchError], None]


class Look:
    """
    One look.

    :param client: The service.
    :param schedule: What is watched; batches on a page count as looked at, due or not.
    :param trust: Whether the list is used.
    :param name: The connection, for the log.
    :param rate: Single questions a second.
    :param is_probe: True after trouble: one failure says that it goes on.
    :param saw: Told of each batch that was seen; says whether that was news to anybody.
    :param missed: Told of each batch for which the service has an error of its own.
    :param clock: Epoch seconds.
    """

    def __init__(
        self,
        client: AsyncBatchClient,
        schedule: Schedule,
        trust: ListTrust,
        *,
        name: str,
        rate: float,
        is_probe: bool,
        saw: Saw,
        missed: Missed,
        clock: Callable[[], float],
    ) -> None:
        self.service_error: ApiError | None = None
        self.singles = 0
        self._client = client
        self._schedule = schedule
        self._trust = trust
        self._name = name
        self._rate = rate
        self._saw = saw
        self._missed = missed
        self._clock = clock
        self._shown: set[str] = set()
        self._unread: set[str] = set()
        self._list_refusal: str | None = None
        self._failures_left = 1 if is_probe else FAILURES_OF_A_SERVICE
        self._next_question = 0.0

    async def at(self, due: list[Watched]) -> None:
        """
        Look. Afterwards ``service_error`` says why the look was broken off, if it was, and ``singles`` how many batches
        no page shows.

        :param due: The batches that are due.
        """
        plan = plan_looks(due, self._clock(), has_list=self._trust.is_usable(self._clock()))
        singles = plan.singles
        if plan.pages:
            sample = min((w for members in plan.pages.values() for w in members), key=lambda w: w.asked_at)
            gate = asyncio.Semaphore(PAGES_AT_A_TIME)
            await asyncio.gather(*(self._read_known_page(cursor, sample, gate) for cursor in plan.pages))
            for cursor, members in plan.pages.items():
                not_shown = [watched for watched in members if watched.id not in self._shown]
                if cursor in self._unread:
                    singles += not_shown
                    continue
                for watched in not_shown:
                    watched.page = None
                plan.search += not_shown
        if self._may_search(plan.search):
            await self._search(plan.search)
            singles += [w for w in plan.search if w.id not in self._shown]
        else:
            singles += plan.search
        self.singles = len(singles)
        singles.sort(key=lambda watched: watched.was_due_at)
        await self._ask_for_each(singles[: max(1, int(self._rate * QUESTIONS_SECONDS))])
        if self._list_refusal is not None and self.service_error is None:
            self._tell(self._trust.page_failed(self._list_refusal, self._clock(), may_pass=False))

    def _may_read(self) -> bool:
        return self.service_error is None and self._list_refusal is None and self._trust.is_usable(self._clock())

    def _may_search(self, wanted: list[Watched]) -> bool:
        return self._may_read() and is_worth_searching(len(wanted))

    async def _read_known_page(self, cursor: str, sample: Watched, gate: asyncio.Semaphore) -> None:
        async with gate:
            if not self._may_read():
                self._unread.add(cursor)
                return
            page = await self._read_page(cursor)
            if page is None or sample.page != cursor or sample.id not in self._shown:
                return
            if sample.batch is not None and not sample.batch.status.has_ended:
                await self._check(sample)

    async def _check(self, sample: Watched) -> None:
        """Ask for a batch that a page has just shown as open."""
        await self._ask_for(sample)
        if sample.batch is not None and sample.trouble is None:
            self._tell(self._trust.checked(self._clock(), was_right=not sample.batch.status.has_ended))

    async def _search(self, wanted: list[Watched]) -> None:
        missing = {watched.id for watched in wanted}
        cursor, seen = TOP, {TOP}
        for _ in range(pages_to_search(len(missing))):
            page = await self._read_page(cursor)
            if page is None:
                return
            missing.difference_update(glance.id for glance in page.items)
            # Some services say "more" but start again from the top.
            if not missing or page.next_after is None or page.next_after in seen:
                break
            cursor = page.next_after
            seen.add(cursor)
        for watched in wanted:
            if watched.id in missing:
                watched.unlisted_until = self._clock() + LEAVE_ALONE_SECONDS

    async def _read_page(self, cursor: str) -> Page[Glance] | None:
        began = _ticks()
        try:
            page = await self._client.glance_at_batches(after=cursor or None)
        except ApiError as error:
            self._note_page_error(cursor, error)
            return None
        self._tell(self._trust.page_came(_ticks() - began, self._clock()))
        told = 0
        for glance in page.items:
            if (watched := self._schedule.get(glance.id)) is not None:
                watched.page = cursor
                self._shown.add(glance.id)
                told += self._saw(watched, glance)
                if told >= TOLD_AT_A_TIME:
                    told = 0
                    await asyncio.sleep(0)
        return page

    def _note_page_error(self, cursor: str, error: ApiError) -> None:
        if isinstance(error, RateLimitError) or _is_out_of_reach(error):
            self.service_error = error
        if isinstance(error, AuthenticationError):
            # The key may be wrong, or allowed to see batches and not their list: the questions that follow tell.
            self._list_refusal = str(error)
        elif not error.retryable and cursor != TOP:
            return  # the batch that the cursor names may be gone: the page is forgotten, and the list is not to blame
        self._unread.add(cursor)
        if self.service_error is None and self._list_refusal is None:
            self._tell(self._trust.page_failed(str(error), self._clock(), may_pass=error.retryable))

    async def _ask_for_each(self, singles: Iterable[Watched]) -> None:
        gate = asyncio.Semaphore(QUESTIONS_AT_A_TIME)

        async def ask_for(watched: Watched) -> None:
            async with gate:
                await self._pace()
                if self.service_error is None:
                    await self._ask_for(watched)

        await asyncio.gather(*(ask_for(watched) for watched in singles))

    async def _pace(self) -> None:
        now = _ticks()
        moment = max(now, self._next_question)
        self._next_question = moment + 1 / self._rate
        if self.service_error is None and moment > now:
            await asyncio.sleep(moment - now)

    async def _ask_for(self, watched: Watched) -> None:
        watched.asked_at = self._clock()
        try:
            batch = await self._client.get_batch(watched.id)
        except BatchError as error:
            self._failures_left -= 1
            concerns_all = isinstance(error, RateLimitError) or _is_out_of_reach(error)
            # A key may be refused for one batch only: another project's.
            concerns_all = concerns_all or (isinstance(error, AuthenticationError) and not watched.is_refused_alone)
            if isinstance(error, ApiError) and (concerns_all or (error.retryable and self._failures_left <= 0)):
                self.service_error = error
                watched.raised_alarm = True
            else:
                self._missed(watched, error)
            return
        self._failures_left = FAILURES_OF_A_SERVICE
        self._saw(watched, batch)

    def _tell(self, reason: str | None) -> None:
        if reason is not None:
            log.warning(
                "The list of batches of connection %s is not used for a while: %s. The batches are asked for one by one.",
                self._name, reason.rstrip("."),
            )  # fmt: skip


def _ticks() -> float:
    """Seconds that never jump."""
    return asyncio.get_running_loop().time()


def _is_out_of_reach(error: Exception) -> bool:
    return isinstance(error, ApiConnectionError) and error.never_sent
