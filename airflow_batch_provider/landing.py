"""Bringing one piece's results home: download, join to its requests, write the rows in input order."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.joining import RowJoiner
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.outcomes import Answer, Outcome, ended_answer, missing_answer, refused_answer
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.shards import BlockWriter, RunFolder, read_blocks

# Rows of one piece are ordered in memory up to this size, beyond it through a local file.
MAX_HELD_BYTES = 48_000_000


def land(client: BatchClient, folder: RunFolder, piece: Piece, batch: Batch, *, can_go_again: bool) -> None:
    """
    Write a piece's rows and count them into the piece. Landing again does no harm.

    :param client: The service.
    :param folder: The run's files.
    :param piece: The piece; gets counts, reasons, tokens and ``open``.
    :param batch: Its batch, ended, or given up.
    :param can_go_again: True when open requests get another round.
    """
    joiner = RowJoiner(
        folder.custom_ids(piece),
        folder.indices(piece),
        batch_id=batch.id,
        round_number=piece.round,
        unreported=partial(_unreported, batch),
        can_go_again=can_go_again,
    )
    with tempfile.TemporaryDirectory(prefix="batch-land-") as temp:
        rows = OrderedRows(piece.requests, Path(temp) / "rows")
        has_files = batch.status.has_ended and not was_refused(batch)
        results = collect_results(client, batch, temp) if has_files else {}
        for part in (results.get("output"), results.get("errors")):
            for lines in read_blocks(part["path"]) if part else ():
                rows.put(joiner.feed(lines))
        rows.put(joiner.finish())
        with paths.WholeFile(paths.as_path(folder.landed(piece))) as stream:
            rows.write_to(BlockWriter(stream))
    folder.save_positions(folder.landed(piece), joiner.open_positions)
    tally = joiner.tally
    piece.counts, piece.reasons, piece.open = dict(tally.counts), dict(tally.reasons), tally.open
    piece.final_reasons = dict(tally.final_reasons)
    piece.input_tokens, piece.output_tokens = tally.input_tokens, tally.output_tokens
    piece.status = batch.status.value


def was_refused(batch: Batch) -> bool:
    """
    Say whether the service refused a batch as a whole: nothing ran, and it has no files.

    :param batch: The batch.
    """
    return batch.status is BatchStatus.FAILED and not (batch.output_file_id or batch.error_file_id)


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


class OrderedRows:
    """
    Takes rows in any order and writes them in theirs, in bounded memory.

    :param count: How many rows there will be.
    :param path: A local file for rows that do not fit in memory.
    """

    def __init__(self, count: int, path: Path) -> None:
        self._rows: list[bytes | tuple[int, int] | None] = [None] * count
        self._held = 0
        self._path = path
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """
        Take rows.

        :param rows: (position, row).
        """
        kept = self._rows
        for position, row in rows:
            kept[position] = row
            self._held += len(row)
        if self._held > MAX_HELD_BYTES:
            self._spill()

    def write_to(self, writer: BlockWriter) -> None:
        """
        Write all rows in order.

        :param writer: Where to.
        """
        if self._file is not None:
            self._file.flush()
        for start in range(0, len(self._rows), 1000):
            writer.write(b"".join(map(self._read, self._rows[start : start + 1000])))
        writer.flush()
        if self._file is not None:
            self._file.close()

    def _read(self, row: bytes | tuple[int, int] | None) -> bytes:
        if isinstance(row, bytes):
            return row
        if row is None or self._file is None:
            raise RuntimeError("A row was never written. Please report this as a bug.")
        return os.pread(self._file.fileno(), row[1], row[0])

    def _spill(self) -> None:
        if self._file is None:
            self._file = self._path.open("w+b")
        for position, row in enumerate(self._rows):
            if isinstance(row, bytes):
                self._file.write(row)
                self._rows[position] = (self._end, len(row))
                self._end += len(row)
        self._held = 0
