"""Shard files on their way to disk, and what is kept beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple, Self

import msgspec

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.sharding import Planned, Shard
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, whole_files
from airflow_batch_provider.storage.blocks import BlockWriter
from airflow_batch_provider.storage.shards import RunFolder

# Finished shards that may wait for the disk or the object store while the next are written.
MAX_FINISHING = 2

_encode = msgspec.json.encode


class _Open(NamedTuple):
    piece: Piece
    lines: BlockWriter
    ids: BlockWriter
    stack: ExitStack


class ShardWriter:
    """
    Writes shard files while they are planned; on an error none is left, unless a journal may count on them.

    A finished shard is synced and put in its place by a thread, while the next one is written.

    :param folder: Where they go.
    :param number: The round.
    """

    def __init__(self, folder: RunFolder, number: int) -> None:
        self._folder = folder
        self._round = number
        self._pieces: list[Piece] = []
        self._positions: dict[int, list[int]] = {}
        self._open: dict[int, _Open] = {}
        self._pool = ThreadPoolExecutor(1)
        self._finishing: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for group in list(self._open):
            self._discard(group)
        self._pool.shutdown()
        # With a journal there is a plan, perhaps of another try at the same time: its files have the same names.
        if kind is not None and issubclass(kind, Exception) and not paths.as_path(self._folder.journal).exists():
            for piece in self._pieces:
                self._folder.remove(self._folder.files_of(piece))

    def write(self, planned: Planned) -> None:
        """
        Write lines of a shard.

        :param planned: The shard, its next lines, and their positions in the input.
        """
        shard, lines, indices, ids = planned
        if not lines:
            return
        if shard.number == len(self._pieces):
            self._begin(shard, indices[0])
        piece, writer, ids_writer, _ = self._open[shard.group]
        data = b"".join(lines)
        writer.write(data)
        ids_writer.write(_encode(ids) + b"\n")
        self._note_positions(piece, indices)
        piece.requests += len(lines)
        piece.bytes += len(data)

    def pieces(self) -> list[Piece]:
        """End all shard files; return their pieces."""
        for group in list(self._open):
            self._finish(group)
        while self._finishing:
            self._finishing.popleft().result()
        return self._pieces

    def _note_positions(self, piece: Piece, indices: Sequence[int]) -> None:
        """Requests that follow one another need no list of their positions."""
        if piece.first_index is not None:
            if indices[0] == piece.first_index + piece.requests and indices[-1] - indices[0] + 1 == len(indices):
                return
            self._positions[piece.number] = list(range(piece.first_index, piece.first_index + piece.requests))
            piece.first_index = None
        self._positions[piece.number].extend(indices)

    def _begin(self, shard: Shard, first_index: int) -> None:
        if shard.group in self._open:
            self._finish(shard.group)
        piece = Piece(shard.number, self._round, shard.group, shard.endpoint, 0, 0, first_index)
        self._pieces.append(piece)
        stack = ExitStack()
        lines = stack.enter_context(whole_files.WholeFile(paths.as_path(self._folder.shard(piece))))
        ids = stack.enter_context(whole_files.WholeFile(paths.as_path(self._folder.ids(piece))))
        self._open[shard.group] = _Open(piece, BlockWriter(lines), BlockWriter(ids), stack)

    def _finish(self, group: int) -> None:
        piece, lines, ids, stack = self._open[group]
        lines.flush()
        ids.flush()
        if len(self._finishing) >= MAX_FINISHING:
            self._finishing.popleft().result()
        del self._open[group]
        self._finishing.append(self._pool.submit(self._publish, piece, stack, self._positions.pop(piece.number, None)))

    def _publish(self, piece: Piece, stack: ExitStack, positions: list[int] | None) -> None:
        stack.close()
        if positions is not None:
            self._folder.save_positions(self._folder.shard(piece), positions)

    def _discard(self, group: int) -> None:
        error = InputError("not used")
        self._open.pop(group).stack.__exit__(type(error), error, None)
