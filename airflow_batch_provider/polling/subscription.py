"""What one waiting task hears of its batches."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.exceptions import BatchError

# Timers of all subscriptions share one; each would have a copy of its task's otherwise.
_NO_CONTEXT = contextvars.Context()


class Miss(NamedTuple):
    """
    A batch could not be asked for. Told once per kind of trouble, not at every look.

    :param batch_id: The batch.
    :param error: Why.
    """

    batch_id: str
    error: BatchError


class Recovered(NamedTuple):
    """
    The service can be asked again, after trouble that concerned all; this batch has its turn soon.

    :param batch_id: The batch.
    """

    batch_id: str


News = Batch | Miss | Recovered


class Subscription:
    """
    A mailbox. Nothing arrives while nothing changes.

    :param batch_ids: The batches.
    :param not_before: Epoch seconds before which the poller puts nothing in.
    :ivar held: How much the poller still holds back for that reason.
    """

    __slots__ = ("_news", "_waiter", "batch_ids", "held", "not_before")

    def __init__(self, batch_ids: Iterable[str], not_before: float = 0.0) -> None:
        self.batch_ids = tuple(batch_ids)
        self.not_before = not_before
        self.held = 0
        self._news: list[News] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, news: News) -> None:
        """
        Put something into the mailbox.

        :param news: A batch as the service shows it, or that it could not be asked for.
        """
        if self._news is None:
            self._news = [news]
        else:
            self._news.append(news)
        _settle(self._waiter)

    async def news(self, until: float, clock: Callable[[], float] = time.time) -> list[News]:
        """
        Wait for news.

        :param until: Epoch seconds after which an empty answer comes.
        :param clock: Epoch seconds.
        """
        if self._news is None:
            # A future and a timer instead of asyncio.timeout: ten thousand of these wait at the same time.
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(max(0.0, until - clock()), _settle, self._waiter, context=_NO_CONTEXT)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        taken, self._news = self._news, None
        return taken or []


def _settle(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
