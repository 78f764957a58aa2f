"""Bringing one piece's results home: join the rows to their requests as they arrive, write them in input order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.results import ResultFile, result_files
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.joining_job import JoiningJob
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.tally import Tally
from airflow_batch_provider.joining import Joined
from airflow_batch_provider.joining.helper import HelperLostError
from airflow_batch_provider.joining.joiners import Joiners
from airflow_batch_provider.receiving import receive
from airflow_batch_provider.storage.landed import LandedFiles, Slot
from airflow_batch_provider.storage.shards import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landed:
    """
    What came back for a piece.

    :param tally: What the batch's files held.
    :param status: How the batch ended.
    :param slot: Where the rows are.
    """

    tally: Tally
    status: BatchStatus
    slot: Slot

    def note_in(self, piece: Piece) -> None:
        """
        Count it into its piece.

        :param piece: The piece; gets counts, reasons, tokens and ``open``.
        """
        tally = self.tally
        piece.counts, piece.reasons, piece.open = dict(tally.counts), dict(tally.reasons), tally.open
        piece.final_reasons = dict(tally.final_reasons)
        piece.input_tokens, piece.output_tokens = tally.input_tokens, tally.output_tokens
        piece.duplicates, piece.strangers = tally.duplicates, tally.strangers
        piece.status = self.status.value
        piece.landed_file, piece.landed_offset, piece.landed_bytes = self.slot.name, self.slot.offset, self.slot.bytes


def land(
    client: BatchClient,
    folder: RunFolder,
    piece: Piece,
    batch: Batch,
    slot: Slot,
    *,
    joiners: Joiners,
    can_go_again: bool,
) -> Landed:
    """
    Write a piece's rows. Landing again does no harm, and several pieces may be landed at the same time.

    :param client: The service.
    :param folder: The run's files.
    :param piece: The piece; not changed, see :class:`Landed`.
    :param batch: Its batch, ended, or given up.
    :param slot: Where the rows go.
    :param joiners: Who joins rows.
    :param can_go_again: True when open requests get another round.
    :returns: What came back; the rows are in their slot, to be synced.
    :raises DownloadError: A file arrived short or altered; nothing counts of it.
    """
    has_files = batch.status.has_ended and not was_refused(client, batch)
    join = partial(
        _join,
        _job(piece, batch, can_go_again=can_go_again),
        folder.id_lines(piece),
        folder.indices(piece),
        result_files(client, batch) if has_files else [],
        slot,
        joiners,
    )
    try:
        joined = join()
    except HelperLostError as error:
        log.warning("%s Shard %s is joined in the task itself.", error, piece.name)
        joined = join(may_help=False)
    if joined.open_positions:
        folder.save_positions(folder.opened(piece, slot.name), joined.open_positions)
    return Landed(joined.tally, batch.status, slot)


def _join(
    job: JoiningJob,
    id_lines: bytes,
    positions: Sequence[int],
    files: list[ResultFile],
    slot: Slot,
    joiners: Joiners,
    *,
    may_help: bool = True,
) -> Joined:
    with joiners.joining(job, id_lines, positions, may_help=may_help) as joining:
        for file in files:
            receive(file, joining)
        joined = joining.finish()
        slot.fill(joined.bytes, joining.write_to)
    return joined


def _job(piece: Piece, batch: Batch, *, can_go_again: bool) -> JoiningJob:
    problem = next(iter(batch.problems), None)
    return JoiningJob(
        batch_id=batch.id,
        status=batch.status,
        round=piece.round,
        requests=piece.requests,
        first_index=piece.first_index,
        can_go_again=can_go_again,
        code=problem.code if problem else None,
        message=problem.message if problem else None,
    )


def was_refused(client: BatchClient, batch: Batch) -> bool:
    """
    Say whether the service refused a batch as a whole: nothing ran, and it has no files.

    :param client: The service; on the gateway's output route file ids say nothing.
    :param batch: The batch.
    """
    has_files = client.settings.results_from == "files" and (batch.output_file_id or batch.error_file_id)
    return batch.status is BatchStatus.FAILED and not has_files


class Landings:
    """
    Lands a few pieces side by side. What came back is synced and noted by the thread that began it, one piece at a time.

    When one fails, those that wait are not begun, those under way end and are noted, and then its error is raised.

    :param land: Lands a piece; called in other threads.
    :param note: Notes what came back.
    :param files: Where rows go.
    :param at_a_time: How many; with one, each is landed where it is started.
    """

    def __init__(
        self,
        land: Callable[[Piece, Batch, Slot], Landed],
        note: Callable[[Piece, Batch, Landed], None],
        files: LandedFiles,
        at_a_time: int,
    ) -> None:
        self._land = land
        self._note = note
        self._files = files
        self._pool = ThreadPoolExecutor(at_a_time) if at_a_time > 1 else None
        self._under_way: dict[Future[Landed], tuple[Piece, Batch]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                self._settle(has_failed=kind is not None)
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
            self._files.close()

    def start(self, piece: Piece, batch: Batch) -> None:
        """
        Land a piece, soon.

        :param piece: The piece.
        :param batch: Its batch.
        """
        slot = self._files.slot(piece)
        if self._pool is None:
            self._keep(piece, batch, self._fill(piece, batch, slot))
            return
        self._under_way[self._pool.submit(self._fill, piece, batch, slot)] = (piece, batch)

    def _fill(self, piece: Piece, batch: Batch, slot: Slot) -> Landed:
        try:
            return self._land(piece, batch, slot)
        finally:
            slot.close()

    def _keep(self, piece: Piece, batch: Batch, landed: Landed) -> None:
        self._files.sync()
        self._note(piece, batch, landed)

    def _settle(self, *, has_failed: bool) -> None:
        errors: list[BaseException] = []
        if has_failed:
            self._cancel_waiting()
        for future in as_completed(self._under_way):
            if future.cancelled():
                continue
            if (error := future.exception()) is not None:
                errors.append(error)
                self._cancel_waiting()
                continue
            self._keep(*self._under_way[future], future.result())
        if errors and not has_failed:
            raise errors[0]

    def _cancel_waiting(self) -> None:
        for future in self._under_way:
            future.cancel()
