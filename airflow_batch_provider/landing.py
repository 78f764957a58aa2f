"""Bringing one piece's results home: join the rows to their requests as they arrive, write them in input order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.results import result_files
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.joining import RowJoiner, Tally
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.outcomes import Answer, Outcome, ended_answer, missing_answer, refused_answer
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.receiving import receive
from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.blocks import BlockWriter
from airflow_batch_provider.storage.ordering import OrderedRows
from airflow_batch_provider.storage.shards import RunFolder

# Rows of one piece are ordered in memory up to this size, beyond it through local files.
MAX_HELD_BYTES = 48_000_000


@dataclass(frozen=True)
class Landed:
    """
    What came back for a piece.

    :param tally: What the batch's files held.
    :param status: How the batch ended.
    """

    tally: Tally
    status: BatchStatus

    def note_in(self, piece: Piece) -> None:
        """
        Count it into its piece.

        :param piece: The piece; gets counts, reasons, tokens and ``open``.
        """
        tally = self.tally
        piece.counts, piece.reasons, piece.open = dict(tally.counts), dict(tally.reasons), tally.open
        piece.final_reasons = dict(tally.final_reasons)
        piece.input_tokens, piece.output_tokens = tally.input_tokens, tally.output_tokens
        piece.status = self.status.value


def land(client: BatchClient, folder: RunFolder, piece: Piece, batch: Batch, *, can_go_again: bool) -> Landed:
    """
    Write a piece's rows. Landing again does no harm, and several pieces may be landed at the same time.

    :param client: The service.
    :param folder: The run's files.
    :param piece: The piece; not changed, see :class:`Landed`.
    :param batch: Its batch, ended, or given up.
    :param can_go_again: True when open requests get another round.
    :returns: What came back; the rows are in their file, synced, when this returns.
    :raises DownloadError: A file arrived short or altered; nothing was kept.
    """
    joiner = RowJoiner(
        folder.custom_ids(piece),
        folder.indices(piece),
        batch_id=batch.id,
        round_number=piece.round,
        unreported=partial(_unreported, batch),
        can_go_again=can_go_again,
    )
    has_files = batch.status.has_ended and not was_refused(client, batch)
    with OrderedRows(joiner.rows, MAX_HELD_BYTES) as rows:
        for file in result_files(client, batch) if has_files else []:
            receive(file, joiner, rows)
        joiner.finish()
        with paths.WholeFile(paths.as_path(folder.landed(piece))) as stream:
            rows.write_to(BlockWriter(stream))
    folder.save_positions(folder.landed(piece), joiner.open_positions)
    return Landed(joiner.tally, batch.status)


def was_refused(client: BatchClient, batch: Batch) -> bool:
    """
    Say whether the service refused a batch as a whole: nothing ran, and it has no files.

    :param client: The service; on the gateway's output route file ids say nothing.
    :param batch: The batch.
    """
    has_files = client.settings.results_from == "files" and (batch.output_file_id or batch.error_file_id)
    return batch.status is BatchStatus.FAILED and not has_files


def _unreported(batch: Batch, custom_id: str) -> Answer:
    match batch.status:
        case BatchStatus.FAILED:
            problem = batch.problems[0] if batch.problems else None
            code, message = (problem.code, problem.message) if problem else (None, "The service gives no reason.")
            return refused_answer(custom_id, code or "batch_failed", message)
        case BatchStatus.EXPIRED:
            return ended_answer(custom_id, Outcome.EXPIRED)
        case BatchStatus.CANCELLED:
            return ended_answer(custom_id, Outcome.CANCELLED)
        case _:
            return missing_answer(custom_id)


class Landings:
    """
    Lands a few pieces side by side. What came back is noted by the thread that began it, one piece at a time.

    When one fails, those that wait are not begun, those under way end and are noted, and then its error is raised.

    :param land: Lands a piece; called in other threads.
    :param note: Notes what came back.
    :param at_a_time: How many; with one, each is landed where it is started.
    """

    def __init__(
        self, land: Callable[[Piece, Batch], Landed], note: Callable[[Piece, Batch, Landed], None], at_a_time: int
    ) -> None:
        self._land = land
        self._note = note
        self._pool = ThreadPoolExecutor(at_a_time) if at_a_time > 1 else None
        self._under_way: dict[Future[Landed], tuple[Piece, Batch]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is None:
            return
        try:
            if kind is None or issubclass(kind, Exception):
                self._settle(has_failed=kind is not None)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def start(self, piece: Piece, batch: Batch) -> None:
        """
        Land a piece, soon.

        :param piece: The piece.
        :param batch: Its batch.
        """
        if self._pool is None:
            self._note(piece, batch, self._land(piece, batch))
            return
        self._under_way[self._pool.submit(self._land, piece, batch)] = (piece, batch)

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
            self._note(*self._under_way[future], future.result())
        if errors and not has_failed:
            raise errors[0]

    def _cancel_waiting(self) -> None:
        for future in self._under_way:
            future.cancel()
