"""Bringing one piece's results home: download, join to its requests, write the rows in input order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, cast

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.joining import RowJoiner
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.outcomes import Answer, Outcome, ended_answer, missing_answer, refused_answer
from airflow_batch_provider.core.rows import is_row
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.shards import BlockWriter, RunFolder, read_blocks

# Rows of one piece are ordered in memory up to this size, beyond it through a local file.
MAX_HELD_BYTES = 48_000_000
ROWS_AT_ONCE = 250
MAX_FILES = 512


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
        has_files = batch.status.has_ended and not was_refused(client, batch)
        results = collect_results(client, batch, temp, accepts_damaged_rows=True) if has_files else {}
        for part in filter(None, (results.get("output"), results.get("errors"))):
            for lines in read_blocks(part["path"]):
                rows.put(joiner.feed(filter(is_row, lines) if part.get("is_damaged") else lines))
        rows.put(joiner.finish())
        with paths.WholeFile(paths.as_path(folder.landed(piece))) as stream:
            rows.write_to(BlockWriter(stream))
    folder.save_positions(folder.landed(piece), joiner.open_positions)
    tally = joiner.tally
    piece.counts, piece.reasons, piece.open = dict(tally.counts), dict(tally.reasons), tally.open
    piece.final_reasons = dict(tally.final_reasons)
    piece.input_tokens, piece.output_tokens = tally.input_tokens, tally.output_tokens
    piece.status = batch.status.value


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


class OrderedRows:
    """
    Takes rows in any order and writes them in theirs, in bounded memory.

    What does not fit is written to local files, each in the order of its rows, and merged at the end.

    :param count: How many rows there will be.
    :param path: Beginning of the names of local files for rows that do not fit in memory.
    """

    def __init__(self, count: int, path: Path) -> None:
        # A row; or its length and the file it is in, as one number.
        self._rows: list[bytes | int | None] = [None] * count
        self._held = 0
        self._path = path
        self._files: list[IO[bytes]] = []

    def put(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """
        Take rows.

        :param rows: (position, row).
        """
        kept, held = self._rows, self._held
        for position, row in rows:
            kept[position] = row
            held += len(row)
        self._held = held
        if held > MAX_HELD_BYTES:
            self._spill()

    def write_to(self, writer: BlockWriter) -> None:
        """
        Write all rows in order.

        :param writer: Where to.
        """
        for file in self._files:
            file.seek(0)
        for start in range(0, len(self._rows), ROWS_AT_ONCE):
            rows = self._rows[start : start + ROWS_AT_ONCE]
            writer.write(b"".join(map(self._read, rows) if self._files else _whole(rows)))
        writer.flush()
        for file in self._files:
            file.close()

    def _read(self, row: bytes | int | None) -> bytes:
        if isinstance(row, int):
            length, number = divmod(row, MAX_FILES)
            return self._files[number].read(length)
        if row is None:
            raise _never_written()
        return row

    def _spill(self) -> None:
        number = len(self._files)
        if number == MAX_FILES:
            raise RuntimeError(f"Rows of one batch with over {MAX_FILES * MAX_HELD_BYTES:,} bytes cannot be ordered.")
        self._files.append(self._path.with_name(f"{self._path.name}-{number}").open("w+b"))
        for position, row in enumerate(self._rows):
            if isinstance(row, bytes):
                self._files[-1].write(row)
                self._rows[position] = len(row) * MAX_FILES + number
        self._held = 0


def _whole(rows: list[bytes | int | None]) -> list[bytes]:
    if None in rows:
        raise _never_written()
    return cast("list[bytes]", rows)


def _never_written() -> RuntimeError:
    return RuntimeError("A row was never written. Please report this as a bug.")
