"""Who waits for which batch, and what they are told."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from airflow_batch_provider.polling.subscription import News, Subscription

# Each one told wakes, logs and decides; the loop must turn in between.
TOLD_AT_A_TIME = 5


class Mailboxes:
    """
    The subscriptions of a poller.

    :param clock: Epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_batch: dict[str, list[Subscription]] = {}
        self._early: list[tuple[float, int, Subscription, News]] = []
        self._serial = 0

    def __len__(self) -> int:
        """How many batches are awaited."""
        return len(self._by_batch)

    def add(self, batch_id: str, subscription: Subscription) -> None:
        """
        Tell somebody about a batch from now on.

        :param batch_id: The batch.
        :param subscription: Who waits.
        """
        self._by_batch.setdefault(batch_id, []).append(subscription)

    def remove(self, batch_id: str, subscription: Subscription) -> bool:
        """
        Tell somebody no longer.

        :param batch_id: The batch.
        :param subscription: Who waited.
        :returns: True when nobody else waits for the batch.
        """
        if others := [other for other in self._by_batch[batch_id] if other is not subscription]:
            self._by_batch[batch_id] = others
            return False
        del self._by_batch[batch_id]
        return True

    def tell(self, batch_id: str, news: News) -> None:
        """
        Tell everybody who waits for a batch.

        :param batch_id: The batch.
        :param news: What is new.
        """
        for subscription in self._by_batch.get(batch_id, ()):
            self.tell_one(subscription, news)

    def tell_one(self, subscription: Subscription, news: News) -> None:
        """
        Tell somebody, now or when the time has come.

        :param subscription: Who waits.
        :param news: What is new.
        """
        if subscription.not_before <= self._clock() and not subscription.held:  # newer news never comes first
            subscription.tell(news)
        else:
            subscription.held += 1
            self._serial += 1  # news cannot be compared
            heapq.heappush(self._early, (subscription.not_before, self._serial, subscription, news))

    def next_at(self) -> float | None:
        """When :meth:`hand_out` has something to do, epoch seconds; None for never."""
        return self._early[0][0] if self._early else None

    async def hand_out(self) -> None:
        """Tell what had to wait for its time."""
        told = 0
        while self._early and self._early[0][0] <= self._clock():
            _, _, subscription, news = heapq.heappop(self._early)
            subscription.held -= 1
            subscription.tell(news)
            told += 1
            if told % TOLD_AT_A_TIME == 0:
                await asyncio.sleep(0)
