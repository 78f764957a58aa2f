"""How far a run is, as numbers: requests done and failed, the pace, the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.journal import Journal, total
from airflow_batch_provider.core.outcomes import Outcome
from airflow_batch_provider.core.watching import Watch

# Batches may stand in a queue for an hour and then be quick: a handful of rows says nothing about the rest.
MIN_SHARE_FOR_ESTIMATE = 0.01


class Progress(NamedTuple):
    """
    How far a wait or a run is.

    :param done: Requests that have ended, well or not. Of a run it falls when some of a shard's requests go again.
    :param failed: Of them, those that did not succeed.
    :param total: All requests, 0 when nobody says.
    :param pace: Requests a second, or None before anything moved.
    :param seconds_left: An estimate, or None while too little is done for one.
    """

    done: int
    failed: int
    total: int
    pace: float | None
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How far a run is, without the batches that are awaited.

    :param round: The round, from 0.
    :param shards: How many it has.
    :param landed: Of them, those whose rows are home.
    :param done: Rows that are home, of all rounds; those that go again left out.
    :param failed: Of them, those that did not succeed.
    :param total: Requests of the run.
    :param since: Epoch seconds when the round's first batch was created: from then on its pace is measured. 0: unknown.
    :param done_before: Rows that were home then.
    """

    round: int
    shards: int
    landed: int
    done: int
    failed: int
    total: int
    since: float
    done_before: int

    def to_dict(self) -> dict[str, Any]:
        """The standing as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Standing | None:
        """
        Read a standing; None for what another version wrote, because nothing but words depends on it.

        :param data: What :meth:`to_dict` made of one, or None.
        """
        try:
            return cls(**data) if data else None
        except TypeError:
            return None

    def with_batches(self, batches: Iterable[Batch], now: float) -> Progress:
        """
        Say how far the whole run is.

        :param batches: Those that are awaited, as last seen.
        :param now: Epoch seconds.
        """
        counts = [batch.counts for batch in batches if batch.counts]
        done = self.done + sum(each.done for each in counts)
        failed = self.failed + sum(each.failed for each in counts)
        moved, seconds = done - self.done_before, now - self.since
        pace = moved / seconds if self.since and moved > 0 and seconds > 0 else None
        left = max(0, self.total - done)
        is_early = moved < MIN_SHARE_FOR_ESTIMATE * (self.total - self.done_before)
        return Progress(done, failed, self.total, pace, None if pace is None or is_early else left / pace)


def standing_of(journal: Journal) -> Standing:
    """
    Say how far a run is by its journal alone.

    :param journal: The run.
    """
    pieces, number = journal.of_round(journal.round), journal.round
    counts, _ = total(journal.pieces)
    before, _ = total(piece for piece in journal.pieces if piece.round < number)
    done = sum(counts.values())
    return Standing(
        round=number,
        shards=len(pieces),
        landed=sum(piece.is_at_least("landed") for piece in pieces),
        done=done,
        failed=done - counts[Outcome.SUCCEEDED],
        total=journal.requests,
        since=min((piece.created_at for piece in pieces if piece.created_at), default=0.0),
        done_before=sum(before.values()),
    )


def progress_of(watch: Watch, standing: Standing | None, now: float) -> Progress:
    """
    Say how far the batches of a wait are, or the run that waits for them.

    :param watch: What is being waited for.
    :param standing: The run, or None when nobody but these batches counts.
    :param now: Epoch seconds.
    """
    if standing is not None:
        return standing.with_batches(watch.seen.values(), now)
    counts = [batch.counts for batch in watch.seen.values() if batch.counts]
    done, requests = watch.done(), sum(each.total for each in counts)
    left = None if done < MIN_SHARE_FOR_ESTIMATE * requests else watch.seconds_left(now)
    return Progress(done, sum(each.failed for each in counts), requests, watch.pace(now), left)
