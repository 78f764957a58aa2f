"""Batches that stand still: looked at again, cancelled, and at last left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.batches import Batch, seen_of
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.exceptions import ApiStatusError

log = logging.getLogger(__name__)

# Services promise ten minutes for a cancel; OGX may stay in "cancelling" for ever.
CANCELLING_SECONDS = 1800.0
# Nobody tells a run that waits whether its batches move: it looks itself, so many times within ``stall_after``, but not
# more often than every ten minutes.
LOOKS = 6
MIN_LOOK_SECONDS = 600.0


class Stalls:
    """
    Notices which batches of a run do not move.

    :param client: The service.
    :param stall_after: A batch that has not moved for so many seconds is cancelled; None for never.
    :param clock: Epoch seconds.
    """

    def __init__(self, client: BatchClient, stall_after: float | None, clock: Callable[[], float]) -> None:
        self._client = client
        self._stall_after = stall_after
        self._clock = clock

    def has_given_up(self, piece: Piece, batch: Batch, save: Callable[[], None]) -> bool:
        """
        Look at a batch that has not ended: one that stands still is cancelled, one that does not end then is given up.

        :param piece: Its piece; gets what was seen.
        :param batch: The batch.
        :param save: Saves the journal.
        """
        now = self._clock()
        seen = seen_of(batch)
        if seen != piece.seen:
            piece.seen, piece.changed_at = seen, now
            save()
        if piece.cancelled_at is None:
            if self._stall_after is not None and now - piece.changed_at >= self._stall_after:
                self._cancel(piece, batch)
                save()
            return False
        if now - piece.cancelled_at < CANCELLING_SECONDS:
            return False
        log.warning(
            "Batch %s does not end although it was cancelled; it is left behind, and its requests go again if a round is left.",
            batch.id,
        )
        return True

    def moments(self, pieces: Iterable[Piece]) -> Iterator[float]:
        """
        When batches must be looked at, though nobody hears of them: epoch seconds.

        :param pieces: Pieces whose batches are awaited.
        """
        for piece in pieces:
            if piece.cancelled_at is not None:
                yield piece.cancelled_at + CANCELLING_SECONDS
            elif self._stall_after is not None:
                pause = max(self._stall_after / LOOKS, MIN_LOOK_SECONDS)
                yield min(piece.changed_at + self._stall_after, self._clock() + pause)

    def _cancel(self, piece: Piece, batch: Batch) -> None:
        now = self._clock()
        still = f"{now - piece.changed_at:.0f}"
        log.warning(
            "Batch %s has not moved for %s s; it is cancelled, and what is open goes again if a round is left.",
            batch.id,
            still,
        )
        piece.changed_at = now
        try:
            self._client.cancel_batch(batch.id)
        except ApiStatusError as error:
            if error.retryable:
                raise
            # It may have ended in between. While it may run, its requests must not go again.
            log.warning("Batch %s was not cancelled, and is waited for: %s", batch.id, error)
            return
        piece.cancelled_at = now
