"""
``BatchRun``: a whole run, as steps over a journal.

``advance()`` does everything that can be done now and says what it waits for. A crash, a retry, a clear, a second
triggerer: all are just another ``advance`` over the same journal; there is no second code path for recovery. Knows no
Airflow: client, owner and clock are handed in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_batch_provider import landing, planning
from airflow_batch_provider.abandoning import cancel_abandoned, delete_abandoned
from airflow_batch_provider.assembly import open_requests
from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.judging import failed_error
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.core.standing import Standing, standing_of
from airflow_batch_provider.core.summary import landed_line, round_line, summary_so_far
from airflow_batch_provider.exceptions import BatchError, SupersededError
from airflow_batch_provider.finishing import delete_remote, finish, remove_run_files
from airflow_batch_provider.joining.joiners import Joiners
from airflow_batch_provider.keeping import JournalKeeper
from airflow_batch_provider.landing import Landings
from airflow_batch_provider.sending import Sending
from airflow_batch_provider.stalling import Stalls
from airflow_batch_provider.storage.landed import Slot, landed_files
from airflow_batch_provider.storage.shards import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """
    Nothing more can be done now.

    :param batch_ids: Batches whose end lets the run go on.
    :param look_again_at: Epoch seconds at which it can go on in any case, or None.
    :param for_any: True when one ended batch is enough (others wait for its place).
    :param standing: How far the run is.
    """

    batch_ids: tuple[str, ...]
    look_again_at: float | None
    for_any: bool
    standing: Standing


@dataclass(frozen=True)
class Finished:
    """
    The run has ended.

    :param summary: What XCom gets.
    """

    summary: dict[str, Any]


class BatchRun:
    """
    One run.

    :param client: The service.
    :param options: What to do.
    :param owner: The task instance.
    :param attempt: Mark of this try; when a newer try marks the journal, this one stops.
    :param is_new_attempt: True at the start of a try, when the input is compared; False when a deferred try resumes.
    :param clock: Epoch seconds.
    """

    def __init__(
        self,
        client: BatchClient,
        options: RunOptions,
        *,
        owner: TaskIdentity,
        attempt: str,
        is_new_attempt: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = RunFolder(options.output)
        self._client = client
        self._options = options
        self._clock = clock
        self._stalls = Stalls(client, options.stall_after, clock)
        self._journal: Journal | None = None
        # Batches that are awaited, as last seen.
        self._seen: dict[str, Batch] = {}
        self._keeper = JournalKeeper(
            self.folder, options, owner=owner, attempt=attempt, is_new_attempt=is_new_attempt, clock=clock
        )
        self._sending = Sending(client, self.folder, options, owner, self._keeper.save, clock)

    @property
    def saved_deadline(self) -> float:
        """Until when this try waits, epoch seconds, as it noted when it began."""
        return self._keeper.saved_deadline()

    def set_deadline(self, deadline_at: float) -> None:
        """
        Say until when this try waits; noted in the journal so that a resumed try knows.

        :param deadline_at: Epoch seconds.
        """
        self._keeper.deadline_at = deadline_at

    def advance(self) -> Waiting | Finished:
        """
        Do everything that can be done now.

        :raises InputError: The input is wrong; nothing was sent.
        :raises JournalError: The saved progress does not fit.
        :raises BatchFailedError: The service refused every batch; nothing ran.
        :raises ApiError: The service does not do what was asked; the journal knows how far the run is.
        """
        try:
            return self._advance()
        except (BatchError, OSError):
            self._keeper.check_mark()  # files that are gone are no wonder when another try has finished the run
            raise

    def tell(self, batches: Iterable[Batch]) -> None:
        """
        Write down how far the run is. Who waits in a worker does so with each line of the log.

        :param batches: Those that are awaited, as just seen.
        """
        if self._journal is None:
            return
        so_far = summary_so_far(self._journal, batches, self._clock())
        try:
            self.folder.save_json(self.folder.summary, so_far, last_check=self._keeper.check_mark)
        except SupersededError:
            raise
        except Exception as error:  # noqa: BLE001 - of whatever kind a store's errors are: the summary is for people
            log.warning("summary.json could not be brought up to date (%s). Waiting goes on.", type(error).__name__)

    def _advance(self) -> Waiting | Finished:
        journal = self._journal = self._keeper.open()
        if journal.summary is not None:
            log.info('The run has finished before; its results are reused, nothing is sent (if_finished="reuse").')
            if not self._options.keep_run_files and self.folder.has_run_files():
                remove_run_files(self.folder, journal)  # an earlier try died while it tidied up
            return Finished(journal.summary)
        cancel_abandoned(self._client, journal, partial(self._keeper.save, journal), self._clock())
        while True:
            number = journal.round
            if active := self._work_on(journal, journal.of_round(number)):
                self.tell(self._seen.values())
                return self._waiting(journal, active)
            log.info(round_line(journal, number))
            self._refuse_if_all_were_refused(journal)
            if not self._begin_round(journal, number + 1):
                return Finished(self._finish(journal))

    def _work_on(self, journal: Journal, pieces: list[Piece]) -> list[Piece]:
        """Take each piece of a round as far as it gets; return those whose batch is awaited."""
        self._collect(
            journal, [piece for piece in pieces if piece.is_at_least("created") and not piece.is_at_least("landed")]
        )
        for batch in self._sending.send(journal, pieces):
            self._seen[batch.id] = batch
        return [piece for piece in pieces if not piece.is_at_least("landed")]

    def _collect(self, journal: Journal, pieces: list[Piece]) -> None:
        """Look at the batches of pieces; land those that have ended."""
        count, note = self._options.landings_at_a_time, partial(self._note_landed, journal)
        save = partial(self._keeper.save, journal)
        with (
            Joiners(count) as joiners,
            Landings(partial(self._land, joiners), note, landed_files(self.folder), count) as landings,
        ):
            for piece in pieces:
                batch = self._seen[str(piece.batch_id)] = self._client.get_batch(str(piece.batch_id))
                if not batch.status.has_ended and not self._stalls.has_given_up(piece, batch, save):
                    continue
                if landing.was_refused(self._client, batch) and failed_error(batch).retryable:
                    self._seen.pop(str(piece.batch_id))
                    self._sending.put_back(journal, piece, batch, others_run=len(pieces) > 1)
                    continue
                landings.start(piece, batch)

    def _land(self, joiners: Joiners, piece: Piece, batch: Batch, slot: Slot) -> landing.Landed:
        again = piece.round + 1 < self._options.max_rounds
        return landing.land(self._client, self.folder, piece, batch, slot, joiners=joiners, can_go_again=again)

    def _note_landed(self, journal: Journal, piece: Piece, batch: Batch, landed: landing.Landed) -> None:
        landed.note_in(piece)
        piece.file_ids = list(dict.fromkeys([*piece.file_ids, *batch.file_ids]))
        piece.advance_to("landed")
        self._keeper.save(journal)
        self._seen.pop(str(piece.batch_id), None)
        log.info(landed_line(journal, piece))
        if piece.duplicates or piece.strangers:
            log.warning(
                "The files of batch %s had %d more lines for requests that have their answer, and %d for none of its "
                "requests. They are counted in the summary and left out.",
                batch.id, piece.duplicates, piece.strangers,
            )  # fmt: skip

    def _waiting(self, journal: Journal, active: list[Piece]) -> Waiting:
        sent = [piece for piece in active if piece.is_at_least("created")]
        ids = tuple(str(piece.batch_id) for piece in sent)
        unsent = len(sent) < len(active)
        moments = list(self._stalls.moments(sent))
        if unsent and (moment := self._sending.try_again_at(others_run=bool(ids))) is not None:
            moments.append(moment)
        return Waiting(ids, min(moments, default=None), unsent, standing_of(journal))

    def _begin_round(self, journal: Journal, number: int) -> bool:
        pieces = journal.of_round(number - 1)
        going_again = sum(piece.open for piece in pieces)
        if not going_again:
            return False
        planned = planning.plan_round(open_requests(self.folder, pieces), self.folder, self._options.limits, number)
        journal.pieces.extend(planned)
        self._keeper.save(journal)
        log.info("Round %d: %s requests again.", number, f"{going_again:,}")
        return True

    def _finish(self, journal: Journal) -> dict[str, Any]:
        save, check = partial(self._keeper.save, journal), self._keeper.check_mark
        if self._options.delete_remote_files:
            delete_abandoned(self._client, journal, save)
        return finish(self._client, self.folder, self._options, journal, save, check, self._clock())

    def _refuse_if_all_were_refused(self, journal: Journal) -> None:
        if journal.was_refused:
            if self._options.delete_remote_files:
                save = partial(self._keeper.save, journal)
                delete_abandoned(self._client, journal, save)
                delete_remote(self._client, journal, save)
            raise failed_error(self._client.get_batch(str(journal.pieces[0].batch_id)))
