"""
Creating a batch once, whatever happens in between.

The paid call stands between two notes in a memory that survives the process: the intent before, the batch's id after.
What a later try finds there decides what it does; "could not ask" never means "not there".

=========================  =============================================================================
found in the memory        the try
=========================  =============================================================================
nothing, first try         creates
nothing, later try         looks for the key at the service: found, adopts; surely absent, creates
intent                     the same
a refusal                  looks too, but creates also when the service cannot say
a batch's id               adopts it if it runs or completed; ended otherwise: looks, then creates anew, or keeps it
                           when ``keeps_ended``
=========================  =============================================================================

Two tries may run at once, a worker thought dead among them. So whoever has a running batch looks for twins: the oldest
wins, younger ones are cancelled.

Knows no Airflow: client, memory and clock are handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import KEY_FIELD, KeySearch, Search, can_be_adopted
from airflow_batch_provider.core.options import OnUnknownSubmission, check_words
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import (
    ApiError,
    ApiStatusError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    RateLimitError,
    SubmissionUnknownError,
)

log = logging.getLogger(__name__)

MAX_SEARCHED_PAGES = 200


class Memory(Protocol):
    """A place for one small JSON value that outlives the process."""

    def load(self) -> Mapping[str, Any] | None:
        """Return what was saved last, or None when nothing was."""
        ...

    def save(self, record: Mapping[str, Any]) -> None:
        """Save, durably."""
        ...


@dataclass(frozen=True)
class Submission:
    """
    One batch to create once.

    :param client: The service.
    :param memory: Survives crashes.
    :param body: Body of the create call; its metadata hold the key.
    :param key: Identifies the call at the service.
    :param is_first_try: True when no earlier try of this task instance can have created anything.
    :param earliest: Epoch seconds before which an earlier try cannot have created the batch.
    :param on_unknown: What to do when the service cannot say whether the batch exists: ``"fail"``, or ``"resubmit"``
        at the risk of paying twice.
    :param clock: Epoch seconds.
    :param keeps_ended: True when a batch of an earlier try that expired or was cancelled is as good as any, because
        the caller lands what it did; False when it is to be replaced by a new one.
    """

    client: BatchClient
    memory: Memory
    body: Mapping[str, Any]
    key: str
    is_first_try: bool
    earliest: float
    on_unknown: OnUnknownSubmission
    clock: Callable[[], float]
    keeps_ended: bool = False

    def __post_init__(self) -> None:
        check_words(on_unknown_submission=(self.on_unknown, OnUnknownSubmission))

    def submit(self) -> Batch:
        """
        Return the batch, created now or by an earlier try.

        :raises SubmissionUnknownError: It is not known whether the batch exists; nothing was created by this try, or
            its answer was lost.
        :raises ApiError: The service refused.
        """
        return self._of_earlier_try() or self._create()

    def _of_earlier_try(self) -> Batch | None:
        record = self.memory.load()
        if record is None or record.get("key") != self.key:
            if record is not None and record.get("batch_id"):
                log.warning("Batch %s of an earlier try was for other input; it is left alone.", record["batch_id"])
            return None if self.is_first_try else self._adopt_found()
        if batch_id := record.get("batch_id"):
            return self._adopt_known(batch_id)
        if record.get("was_refused"):
            return self._adopt_found(must_know=False)
        log.info("An earlier try was cut off while creating its batch; looking for it at the service.")
        return self._adopt_found()

    def _adopt_known(self, batch_id: str) -> Batch | None:
        batch = self._get_known(batch_id)
        if batch is None:
            return self._adopt_found(must_know=False)
        if not can_be_adopted(batch):
            log.warning("Batch %s of an earlier try ended as %s.", batch.id, batch.status)
            # It may have been the loser of two twins, cancelled by a try that died before it noted the winner.
            return self._adopt_found(must_know=False) or (batch if self.keeps_ended else None)
        log.info("Batch %s of an earlier try is %s; re-attached, nothing is paid again.", batch.id, batch.status)
        return batch if batch.status.has_ended else self._without_twins(batch)

    def _get_known(self, batch_id: str) -> Batch | None:
        try:
            batch = self.client.get_batch(batch_id)
        except NotFoundError as error:
            if self.on_unknown == "resubmit":
                return None
            raise self._unknown_batch(batch_id, f"the service does not know it ({error})") from error
        if (batch.metadata or {}).get(KEY_FIELD, self.key) == self.key:
            return batch
        if self.on_unknown == "resubmit":
            return None
        raise self._unknown_batch(batch_id, "the service shows somebody else's batch under this id.")

    @staticmethod
    def _unknown_batch(batch_id: str, fact: str) -> SubmissionUnknownError:
        return SubmissionUnknownError(
            f"An earlier try created batch {batch_id}, but {fact} Nothing was created again, because that would be "
            "billed again. Does the connection still point to the same account? If the batch is truly lost, run the "
            'task with on_unknown_submission="resubmit".',
            False,
        )

    def _adopt_found(self, *, must_know: bool = True) -> Batch | None:
        try:
            search = self._search()
        except ApiError as error:
            if isinstance(error, RateLimitError) and not must_know:
                raise  # the limit that refused the batch, which whoever sends it waits out
            raise SubmissionUnknownError(
                f"It is not known whether an earlier try created its batch, and the service could not be asked: "
                f"{error} Nothing was created by this try. A retry asks again."
            ) from error
        if batch := self._settle_twins(search.found):
            log.info("Found batch %s of an earlier try at the service; re-attached, nothing is paid again.", batch.id)
            self._save(batch.id)
            return batch
        if must_know and not search.is_conclusive and self.on_unknown == "fail":
            raise SubmissionUnknownError(
                "It is not known whether an earlier try created its batch: the service's list does not show metadata "
                "or could not be read to its end. Nothing was created by this try. Look at the service's console; if "
                'there is no such batch, run the task with on_unknown_submission="resubmit".',
                False,
            )
        return None

    def _create(self) -> Batch:
        self._save(None)
        try:
            batch = self.client.create_batch(self.body)
        except SubmissionUnknownError:
            # Most lost answers are settled by one look; if this look cannot settle it, a retry will.
            found = self._look_again()
            if found is None:
                raise
            batch = found
        except (ApiError, ConfigurationError):
            self._save(None, was_refused=True)
            raise
        try:
            self._save(batch.id)
        except Exception:
            # Another try may have the run now, and a batch of its own: this one must not live on beside it. The journal
            # says so; Airflow's state store answers that it does not know the task (any more).
            self._without_twins(batch)
            raise
        return self._without_twins(batch)

    def _look_again(self) -> Batch | None:
        try:
            return self._settle_twins(self._search().found)
        except ApiError:
            return None

    def _without_twins(self, batch: Batch) -> Batch:
        """Settle with tries that run at the same time, as far as the service can be asked."""
        try:
            found = self._search().found
        except ApiError as error:
            log.warning("Could not look for a twin of batch %s: %s", batch.id, error)
            return batch
        # Lists may lag behind: a batch that is not shown yet counts all the same.
        found = found if any(twin.id == batch.id for twin in found) else (*found, batch)
        winner = self._settle_twins(found) or batch
        if winner.id != batch.id:
            self._save(winner.id)
        return winner

    def _settle_twins(self, found: Sequence[Batch]) -> Batch | None:
        usable = sorted(filter(can_be_adopted, found), key=_precedence)
        for twin in usable[1:]:
            if twin.status.may_be_cancelled:
                self._cancel_twin(twin, usable[0])
        if usable:
            return usable[0]
        # A failed batch has nothing to keep, and making it again costs nothing.
        ended = [twin for twin in found if self.keeps_ended and twin.status.may_have_results]
        return ended[0] if ended else None

    def _cancel_twin(self, twin: Batch, winner: Batch) -> None:
        log.warning("Batch %s is a twin of batch %s, made by two tries at once; cancelling it.", twin.id, winner.id)
        try:
            self.client.cancel_batch(twin.id)
        except ApiError as error:
            # It may have ended in between. The winner must not be lost over its twin.
            log.warning("Batch %s could not be cancelled and may be billed too: %s", twin.id, error)

    def _search(self) -> Search:
        return find_batches(self.client, self.key, self.earliest)

    def _save(self, batch_id: str | None, *, was_refused: bool = False) -> None:
        record = {"version": 1, "key": self.key, "batch_id": batch_id, "saved_at": self.clock()}
        self.memory.save(record | ({"was_refused": True} if was_refused else {}))


def find_batches(client: BatchClient, key: str, earliest: float) -> Search:
    """
    Look for a key among the service's batches.

    :param client: The service.
    :param key: The key.
    :param earliest: Epoch seconds before which the batch cannot have been created.
    :raises ApiError: The service could not be asked.
    """
    search, after, seen = KeySearch(key, earliest), None, set()
    for _ in range(MAX_SEARCHED_PAGES):
        try:
            page = client.list_batch_page(after=after)
        except AuthenticationError:
            raise
        except ApiStatusError as error:
            if error.retryable:
                raise
            break  # a service without this list: it cannot say, today or later
        goes_on = search.feed(page.items)
        if page.next_after is None or not goes_on:
            return search.end(has_seen_all=page.next_after is None)
        if page.next_after in seen:
            break  # a list that starts again from the top
        after = page.next_after
        seen.add(after)
    return search.end(has_seen_all=False)


def _precedence(batch: Batch) -> tuple[bool, bool, Any]:
    """Oldest first; one that is being cancelled comes after one that still brings results."""
    return (batch.status is BatchStatus.CANCELLING, batch.created_at is None, batch.created_at or 0)
