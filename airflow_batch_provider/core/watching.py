"""
Waiting for batches, as decisions: observations or errors go in with ``now``, what to do next comes out.

Rules, in this order:

1. All batches have ended, or enough of them: done, whatever the time is.
2. The deadline has passed: timed out. The batches go on remotely, and cost.
3. A batch could not be asked for too long: gave up. How long depends on the kind of error, not on how often it came:
   an outage may last (``outage_patience``); a refusal (wrong key, unknown id) is shown to a person sooner, but not at
   the first answer, because keys are rotated and new ids take a moment to be known everywhere.
4. Otherwise: look again later. The pause grows with the batch's age, at most a twentieth of the time already waited, so
   that the end is noticed soon after short jobs and rarely asked for during long ones; near the end it shrinks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.patience import (
    ANSWER_SECONDS,
    JITTER_FRACTION,
    MAX_RETRY_AFTER_SECONDS,
    Trouble,
    WatchPolicy,
    pause_between_looks,
)
from airflow_batch_provider.core.status import BatchStatus


class KeepWaiting(NamedTuple):
    """Look again at this time (epoch seconds)."""

    look_again_at: float


class Done(NamedTuple):
    """All batches have ended, or enough of them (see ``any_after``)."""


class TimedOut(NamedTuple):
    """The deadline passed first; these batches have not ended."""

    batch_ids: tuple[str, ...]


class GaveUp(NamedTuple):
    """These batches could not be asked for too long, for this reason."""

    batch_ids: tuple[str, ...]
    reason: str


Decision = KeepWaiting | Done | TimedOut | GaveUp


class Watch:
    """
    What is known about the batches one waits for.

    :param batch_ids: The batches.
    :param started_at: Epoch seconds when waiting began.
    :param deadline_at: Epoch seconds after which waiting ends.
    :param policy: How patiently to wait.
    :param any_after: The wait is over also when so many seconds have passed since one of the batches was first seen
        ended: 0 for whoever can go on with any of them, None to wait for all.
    """

    def __init__(
        self,
        batch_ids: Iterable[str],
        *,
        started_at: float,
        deadline_at: float,
        policy: WatchPolicy,
        any_after: float | None = None,
    ) -> None:
        self.batch_ids = tuple(dict.fromkeys(batch_ids))
        self.deadline_at = deadline_at
        self._any_after = any_after
        self._first_end_at: float | None = None
        self._started_at = started_at
        self._policy = policy
        self._seen: dict[str, Batch] = {}
        self._trouble: dict[str, Trouble] = {}
        self._first_done: tuple[float, int] | None = None

    def __repr__(self) -> str:
        return f"<Watch {len(self.batch_ids)} batches, {len(self.open_ids())} open, {len(self._trouble)} in trouble>"

    @property
    def seen(self) -> Mapping[str, Batch]:
        """The newest observation of each batch."""
        return self._seen

    def open_ids(self) -> tuple[str, ...]:
        """Batches that have not been seen ended."""
        return tuple(i for i in self.batch_ids if i not in self._seen or not self._seen[i].status.has_ended)

    def observe(self, batch: Batch, now: float) -> None:
        """
        Take in an answer.

        :param batch: The batch as the service shows it.
        :param now: Epoch seconds.
        """
        self._seen[batch.id] = batch
        self._trouble.pop(batch.id, None)
        if self._first_end_at is None and batch.status.has_ended:
            self._first_end_at = now
        if self._first_done is None and len(self._seen) == len(self.batch_ids):
            self._first_done = (now, self.done())

    def miss(
        self, batch_id: str, reason: str, now: float, *, is_outage: bool, retry_after: float | None = None
    ) -> bool:
        """
        Take in that a batch could not be asked.

        :param batch_id: The batch.
        :param reason: Why, in a sentence.
        :param now: Epoch seconds.
        :param is_outage: True when the service did not answer or had a fault, False when it refused.
        :param retry_after: Seconds the service wants to be left alone.
        :returns: True when this is the first miss in a row, so that it is told once. Of a batch that has ended nothing
            more needs to be known.
        """
        if batch_id in self._seen and self._seen[batch_id].status.has_ended:
            return False
        before = self._trouble.get(batch_id)
        since = now if before is None else before.since
        refused_since = None if is_outage else now
        if before is not None and before.refused_since is not None and not is_outage:
            refused_since = before.refused_since
        pause = min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS)
        # Who was asked to come back in an hour must be asked once more before anybody gives up.
        answer_by = now + pause * (1 + JITTER_FRACTION) + ANSWER_SECONDS if pause else 0.0
        self._trouble[batch_id] = Trouble(since, refused_since, reason, now + pause, answer_by)
        return before is None

    def recover(self, batch_id: str) -> None:
        """
        Take in that a batch can be asked for again, though it was not asked yet.

        :param batch_id: The batch.
        """
        self._trouble.pop(batch_id, None)

    def decide(self, now: float, *, jitter: float) -> Decision:
        """
        Say what to do next.

        :param now: Epoch seconds.
        :param jitter: Random number from 0 to 1, to spread waiters that began together.
        """
        if (verdict := self.verdict(now)) is not None:
            return verdict
        pause = self._pause(now) * (1 - JITTER_FRACTION + 2 * JITTER_FRACTION * jitter)
        asked_for = max((t.not_before for t in self._trouble.values()), default=0.0)
        next_look = min(max(now + pause, asked_for), self._enough_at())
        return KeepWaiting(min(next_look, max(self.deadline_at, now + 1.0)))

    def verdict(self, now: float) -> Done | TimedOut | GaveUp | None:
        """
        Say whether waiting has ended.

        :param now: Epoch seconds.
        :returns: How, or None while it goes on.
        """
        open_ids = self.open_ids()
        if not open_ids or now >= self._enough_at():
            return Done()
        if now >= self.deadline_at:
            return TimedOut(open_ids)
        bearable = {i: trouble.bearable_until(self._policy) for i, trouble in self._trouble.items()}
        hopeless = [i for i in open_ids if now >= bearable.get(i, self.deadline_at)]
        if hopeless:
            return GaveUp(tuple(hopeless), self._trouble[hopeless[0]].reason)
        return None

    def verdict_at(self) -> float:
        """When waiting ends though nothing is heard any more: the deadline, or the end of the patience."""
        bearable = (trouble.bearable_until(self._policy) for trouble in self._trouble.values())
        return min([self.deadline_at, self._enough_at(), *bearable])

    def done(self) -> int:
        """Requests done so far, by the services' own counts."""
        return sum(batch.counts.done for batch in self._seen.values() if batch.counts)

    def seconds_left(self, now: float) -> float | None:
        """
        Estimate when the batches end, from the pace since waiting began.

        :param now: Epoch seconds.
        :returns: Seconds, or None while there is nothing to judge by.
        """
        pace = self.pace(now)
        totals = [batch.counts.total for batch in self._seen.values() if batch.counts]
        if not pace or len(totals) < len(self.batch_ids) or not all(totals):
            return None
        return max(0, sum(totals) - self.done()) / pace

    def pace(self, now: float) -> float | None:
        """
        Requests done per second since waiting began.

        :param now: Epoch seconds.
        :returns: The pace, or None before anything moved.
        """
        if self._first_done is None or now <= self._first_done[0] or self.done() <= self._first_done[1]:
            return None
        return (self.done() - self._first_done[1]) / (now - self._first_done[0])

    def _enough_at(self) -> float:
        if self._any_after is None or self._first_end_at is None:
            return float("inf")
        return self._first_end_at + self._any_after

    def _pause(self, now: float) -> float:
        is_finalizing = any(batch.status is BatchStatus.FINALIZING for batch in self._seen.values())
        age = now - self._oldest_start()
        return pause_between_looks(self._policy, age, 0.0 if is_finalizing else self.seconds_left(now))

    def _oldest_start(self) -> float:
        # The service's own time survives a restart of the waiting process; ours would begin anew with short pauses.
        created = [b.created_at.timestamp() for b in self._seen.values() if b.created_at and not b.status.has_ended]
        return min([self._started_at, *created])
