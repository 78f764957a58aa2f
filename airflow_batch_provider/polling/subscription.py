"""What one waiting task hears of its batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.exceptions import BatchError


class Miss(NamedTuple):
    """
    A batch could not be asked for. Told once per kind of trouble, not at every look.

    :param batch_id: The batch.
    :param error: Why.
    """

    batch_id: str
    error: BatchError


News = Batch | Miss


class Subscription:
    """
    A mailbox. Nothing arrives while nothing changes.

    :param batch_ids: The batches.
    """

    __slots__ = ("_news", "_waiter", "batch_ids")

    def __init__(self, batch_ids: Iterable[str]) -> None:
        self.batch_ids = tuple(batch_ids)
        self._news: list[News] = []
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, news: News) -> None:
        """
        Put something into the mailbox.

        :param news: A batch as the service shows it, or that it could not be asked for.
        """
        self._news.append(news)
        _settle(self._waiter)

    async def news(self, until: float, clock: Callable[[], float] = time.time) -> list[News]:
        """
        Wait for news.

        :param until: Epoch seconds after which an empty answer comes.
        :param clock: Epoch seconds.
        """
        if not self._news:
            loop = asyncio.get_running_loop()
            # A future and a timer instead of asyncio.timeout: ten thousand of these wait at the same time.
            self._waiter = loop.create_future()
            timer = loop.call_later(max(0.0, until - clock()), _settle, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        taken, self._news = self._news, []
        return taken


def _settle(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
