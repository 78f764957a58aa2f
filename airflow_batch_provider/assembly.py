"""From landed pieces to the run's results: rows in input order, requests that never succeeded, the summary."""

from __future__ import annotations

import heapq
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import IO

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.exceptions import JournalUnreadableError
from airflow_batch_provider.storage import paths, whole_files
from airflow_batch_provider.storage.blocks import BlockWriter, copy_into, read_blocks
from airflow_batch_provider.storage.composing import compose_whole
from airflow_batch_provider.storage.shards import RunFolder

_PREFIX = len(b'{"index":')
_OUTCOME = b',"outcome":"'
_NO_ROW = (sys.maxsize, b"")
ROWS_AT_ONCE = 1000


def write_results(
    folder: RunFolder, pieces: list[Piece], path: str, *, last_check: Callable[[], None] = lambda: None
) -> int:
    """
    Write one row per request, in input order, each from the last round that had it.

    :param folder: The run's files.
    :param pieces: All landed pieces.
    :param path: Where to.
    :param last_check: May raise to keep the file from appearing.
    :returns: How many rows.
    :raises JournalUnreadableError: What landed is not what the journal tells of.
    """
    target = paths.as_path(path)
    follow_one_another = not any(piece.round for piece in pieces) and len(_groups(pieces)) == 1
    whole = _in_one_file(folder, pieces) if follow_one_another else None
    if whole and whole_files.link_whole(whole, target, last_check=last_check):
        return sum(piece.requests for piece in pieces)
    if follow_one_another and compose_whole([folder.landed(piece) for piece in pieces], target, last_check=last_check):
        return sum(piece.requests for piece in pieces)
    with whole_files.WholeFile(target, last_check=last_check) as stream:
        if follow_one_another:
            return sum(_copied(folder, piece, stream) for piece in pieces)
        count = 0
        writer = BlockWriter(stream)
        for rows in _merged(folder, pieces):
            writer.write(b"".join(rows))
            count += len(rows)
        writer.flush()
    return count


def _in_one_file(folder: RunFolder, pieces: list[Piece]) -> str | None:
    """Name the file that has the rows of all pieces one behind the other and nothing else; nearly always there is one."""
    path, end = folder.landed(pieces[0]).path, 0
    for piece in pieces:
        part = folder.landed(piece)
        if part.path != path or part.offset != end:
            return None
        end += part.bytes
    return path if paths.file_size(paths.as_path(path)) == end else None


def _copied(folder: RunFolder, piece: Piece, target: IO[bytes]) -> int:
    part = folder.landed(piece)
    if (size := copy_into(part, target)) != part.bytes:
        raise JournalUnreadableError(
            f"{part.path} ends {part.bytes - size:,} bytes too early: something has shortened it since the rows of shard "
            f"{piece.name} landed. The results are not written, and nothing was deleted at the service. Put the file back "
            "and clear the task."
        )
    return piece.requests


def open_requests(folder: RunFolder, pieces: list[Piece]) -> Iterator[tuple[int, bytes]]:
    """
    The requests of landed pieces that go again, in input order.

    :param folder: The run's files.
    :param pieces: Pieces of one round.
    :returns: (position in the input, line).
    """

    def of_group(group: list[Piece]) -> Iterator[tuple[int, bytes]]:
        for piece in group:
            if piece.open:
                positions = folder.load_positions(folder.opened(piece, piece.landed_file))
                indices = folder.indices(piece)
                for position, line in zip(positions, folder.requests_at(piece, positions), strict=True):
                    yield indices[position], line

    return heapq.merge(*(of_group(group) for group in _groups(pieces)), key=lambda item: item[0])


def write_failures(
    folder: RunFolder, pieces: list[Piece], results: str, path: str, *, last_check: Callable[[], None] = lambda: None
) -> int:
    """
    Write the requests that never succeeded, ready to be an input again.

    :param folder: The run's files.
    :param pieces: All landed pieces.
    :param results: The results, to see which.
    :param path: Where to.
    :param last_check: May raise to keep the file from appearing.
    :returns: How many.
    """
    failed = iter(_failed_indices(results))
    following = next(failed, None)
    count = 0
    with whole_files.WholeFile(paths.as_path(path), last_check=last_check) as stream:
        writer = BlockWriter(stream)
        first_round = [piece for piece in pieces if piece.round == 0]
        for index, line in heapq.merge(
            *(_requests(folder, group) for group in _groups(first_round)), key=lambda item: item[0]
        ):
            if following is None:
                break
            if index == following:
                writer.write(line)
                count += 1
                following = next(failed, None)
        writer.flush()
    return count


def _requests(folder: RunFolder, group: list[Piece]) -> Iterator[tuple[int, bytes]]:
    for piece in group:
        if sum(count for outcome, count in piece.counts.items() if outcome != "succeeded") or piece.open:
            lines = (line for block in read_blocks(folder.shard(piece)) for line in block)
            yield from zip(folder.indices(piece), lines, strict=True)


def _failed_indices(results: str) -> Iterator[int]:
    for rows in read_blocks(results):
        for row in rows:
            # Quotes inside the custom_id are escaped, so that the first of these is the row's own field.
            if not row.startswith(b'succeeded"', row.index(_OUTCOME) + len(_OUTCOME)):
                yield _index(row)


def _merged(folder: RunFolder, pieces: list[Piece]) -> Iterator[list[bytes]]:
    """The rows in input order, many at a time."""
    first = [piece for piece in pieces if piece.round == 0]
    later = [piece for piece in pieces if piece.round]
    if len(_groups(first)) == 1:
        return _overlaid(folder, first, _newest(folder, later))
    return _in_blocks(row for _, row in _newest(folder, pieces))


def _overlaid(folder: RunFolder, first: list[Piece], later: Iterator[tuple[int, bytes]]) -> Iterator[list[bytes]]:
    """Rows that follow one another, some of them replaced: rows that stay are not looked at one by one."""
    index, row = next(later, _NO_ROW)
    for piece in first:
        indices, begin = folder.indices(piece), 0
        for rows in read_blocks(folder.landed(piece)):
            end = begin + len(rows)
            while index <= indices[end - 1]:
                rows[bisect_left(indices, index, begin, end) - begin] = row
                index, row = next(later, _NO_ROW)
            yield rows
            begin = end


def _newest(folder: RunFolder, pieces: list[Piece]) -> Iterator[tuple[int, bytes]]:
    # The same position comes once a round, the newest round first.
    streams = [
        _rows(folder, group)
        for number in sorted({piece.round for piece in pieces}, reverse=True)
        for group in _groups([piece for piece in pieces if piece.round == number])
    ]
    last = -1
    for index, row in heapq.merge(*streams, key=lambda item: item[0]):
        if index != last:
            yield index, row
            last = index


def _in_blocks(rows: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(islice(rows, ROWS_AT_ONCE)):
        yield block


def _rows(folder: RunFolder, group: list[Piece]) -> Iterator[tuple[int, bytes]]:
    for piece in group:
        for rows in read_blocks(folder.landed(piece)):
            for row in rows:
                yield _index(row), row


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    ordered = sorted(pieces, key=lambda piece: (piece.group, piece.number))
    return [list(group) for _, group in groupby(ordered, key=lambda piece: piece.group)]


def _index(row: bytes) -> int:
    return int(row[_PREFIX : row.index(b",", _PREFIX)])
