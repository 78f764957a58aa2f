"""
Which batches are watched by everybody together, and when each is due for a look.

One batch may be awaited by several tasks; it is looked at as often as the most eager of them asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from airflow_batch_provider.core.batches import Batch, RequestCounts
from airflow_batch_provider.core.patience import JITTER_FRACTION, WatchPolicy, pause_between_looks
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import BatchError

# When a batch is due, those due within this part of its pause are looked at with it: batches that began together stay
# together, and one page tells of many.
EARLY_FRACTION = 0.2
SLACK_ITEMS = 64
BUSY = float("inf")


class Watched:
    """
    A batch somebody waits for.

    :param batch_id: The batch.
    :param policy: Bounds of the pause between looks.
    :param since: Epoch seconds when waiting began.
    """

    __slots__ = (
        "asked_at", "batch", "due_at", "first_done", "id", "is_refused_alone", "mark", "page", "pause", "policy",
        "raised_alarm", "since", "told_at", "told_counts", "trouble", "trouble_is_shared", "unlisted_until", "was_due_at",
    )  # fmt: skip

    def __init__(self, batch_id: str, policy: WatchPolicy, since: float) -> None:
        self.id = batch_id
        self.policy = policy
        self.since = since
        self.batch: Batch | None = None
        # Of the last answer, so that the same again is noticed without reading it.
        self.mark: int | None = None
        self.first_done: tuple[float, int] | None = None
        self.due_at = self.was_due_at = since
        self.pause = policy.poll_interval
        # Cursor of the page of the list on which it was last seen; None when it is not known to be on any.
        self.page: str | None = None
        self.unlisted_until = 0.0
        # When it was last asked for by itself: pages are checked against such answers.
        self.asked_at = 0.0
        self.trouble: BatchError | None = None
        # True when it is the service's as a whole, and passes with it.
        self.trouble_is_shared = False
        # True when the service was thought to be in trouble because of it; and when others were then answered.
        self.raised_alarm = False
        self.is_refused_alone = False
        self.told_at = 0.0
        self.told_counts: RequestCounts | None = None

    def __repr__(self) -> str:
        return f"<Watched {self.id}>"

    def see(self, batch: Batch, now: float, *, min_gap: float = 0.0) -> bool:
        """
        Take in an answer.

        :param batch: The batch as the service shows it.
        :param now: Epoch seconds.
        :param min_gap: Seconds between news that are counts only; a new status is news at once.
        :returns: True when it is worth telling.
        """
        before, is_news = self.batch, self.trouble is not None
        self.batch, self.trouble = batch, None
        if self.first_done is None and batch.counts:
            self.first_done = (now, batch.counts.done)
        if (
            before is None
            or before.status is not batch.status
            or (batch.counts != self.told_counts and now - self.told_at >= min_gap)
        ):
            is_news = True
        if is_news:
            self.told_at, self.told_counts = now, batch.counts
        return is_news

    def next_pause(self, now: float) -> float:
        """
        How long to leave it alone after a look.

        :param now: Epoch seconds.
        """
        created = self.batch.created_at.timestamp() if self.batch and self.batch.created_at else self.since
        is_finalizing = self.batch is not None and self.batch.status is BatchStatus.FINALIZING
        return pause_between_looks(
            self.policy, now - min(created, self.since), 0.0 if is_finalizing else self._seconds_left(now)
        )

    def _seconds_left(self, now: float) -> float | None:
        if self.batch is None or not self.batch.counts or self.first_done is None:
            return None
        counts, (since, done) = self.batch.counts, self.first_done
        if not counts.total or counts.done <= done or now <= since:
            return None
        return max(0, counts.total - counts.done) * (now - since) / (counts.done - done)


class Schedule:
    """
    The watched batches, by the time they are due.

    :param jitter: Random numbers from 0 to 1; one per look, so that what is looked at together stays together.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._spread = 1.0
        self._watched: dict[str, Watched] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, batch_id: str) -> bool:
        return batch_id in self._watched

    def get(self, batch_id: str) -> Watched | None:
        """
        Return a watched batch, or None.

        :param batch_id: Its id.
        """
        return self._watched.get(batch_id)

    def all(self) -> tuple[Watched, ...]:
        """Return all watched batches."""
        return tuple(self._watched.values())

    def add(self, batch_id: str, policy: WatchPolicy, *, since: float, due_at: float) -> Watched:
        """
        Watch a batch, or watch it more eagerly.

        :param batch_id: The batch.
        :param policy: Bounds of the pause between looks.
        :param since: Epoch seconds when waiting began.
        :param due_at: When to look first.
        """
        watched = self._watched.get(batch_id)
        if watched is None:
            watched = self._watched[batch_id] = Watched(batch_id, policy, since)
            self.put_off(watched, due_at)
        else:
            if policy.poll_interval < watched.policy.poll_interval:
                watched.policy = policy
            # One that is being looked at right now has no time; it gets the one after this look.
            if due_at < watched.due_at < BUSY:
                self.put_off(watched, due_at)
        return watched

    def remove(self, batch_id: str) -> None:
        """
        Watch a batch no longer.

        :param batch_id: The batch.
        """
        self._watched.pop(batch_id, None)
        self._tidy()

    def due(self, now: float, at_most: int) -> list[Watched]:
        """
        Take what is due, the longest overdue first. What is taken comes back with :meth:`looked` or :meth:`give_back`.

        :param now: Epoch seconds.
        :param at_most: How many.
        """
        if (first := self._first()) is None or first.due_at > now:
            return []
        self._spread = 1 - JITTER_FRACTION + 2 * JITTER_FRACTION * self._jitter()
        horizon = now + EARLY_FRACTION * first.pause
        # Sorted, because popping ten thousand takes five times as long. What is sorted is a heap too.
        self._heap.sort()
        taken: list[Watched] = []
        end = 0
        while end < len(self._heap) and self._heap[end][0] <= horizon and len(taken) < at_most:
            due_at, batch_id = self._heap[end]
            end += 1
            if (watched := self._watched.get(batch_id)) is not None and watched.due_at == due_at:
                watched.was_due_at, watched.due_at = due_at, BUSY
                taken.append(watched)
        del self._heap[:end]
        return taken

    def looked(self, watched: Watched, now: float) -> None:
        """
        Note that a batch was looked at, and when it is due again.

        :param watched: The batch.
        :param now: Epoch seconds.
        """
        watched.pause = watched.next_pause(now) * self._spread
        self.put_off(watched, now + watched.pause)

    def put_off(self, watched: Watched, until: float) -> None:
        """
        Look at a batch at another time.

        :param watched: The batch.
        :param until: Epoch seconds.
        """
        watched.due_at = until
        heapq.heappush(self._heap, (until, watched.id))
        self._tidy()

    def give_back(self, watched: Watched) -> None:
        """
        Return a batch that was taken and not looked at; it keeps its place.

        :param watched: The batch.
        """
        self.put_off(watched, watched.was_due_at)

    def next_due_at(self) -> float | None:
        """When something is due next, epoch seconds; None when nothing is."""
        first = self._first()
        return None if first is None else first.due_at

    def _first(self) -> Watched | None:
        while self._heap:
            due_at, batch_id = self._heap[0]
            watched = self._watched.get(batch_id)
            if watched is not None and watched.due_at == due_at:
                return watched
            heapq.heappop(self._heap)
        return None

    def _tidy(self) -> None:
        # Items of what was put elsewhere or removed stay in the heap; when they are the most, it is built anew.
        if len(self._heap) > 3 * len(self._watched) + SLACK_ITEMS:
            self._heap = [(w.due_at, w.id) for w in self._watched.values() if w.due_at < BUSY]
            heapq.heapify(self._heap)
