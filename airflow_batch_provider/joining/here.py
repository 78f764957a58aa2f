"""Joining rows in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from mmap import mmap
from types import TracebackType
from typing import Self

from airflow_batch_provider.core.joining_job import JoiningJob
from airflow_batch_provider.core.rows import WholeLines
from airflow_batch_provider.joining import Joined
from airflow_batch_provider.storage.ordering import OrderedRows

# What goes through the joiner at once: with its copies it fits in a core's own cache.
BLOCK_BYTES = 1 << 18
# Rows of one piece are ordered in memory up to this size, beyond it through local files.
MAX_HELD_BYTES = 48_000_000


class JoiningHere:
    """
    See :class:`airflow_batch_provider.joining.Joining`.

    :param job: The piece and its batch.
    :param custom_ids: The piece's requests, in order.
    :param positions: Their positions in the input; not looked at when they follow one another.
    """

    def __init__(self, job: JoiningJob, custom_ids: Sequence[str], positions: Sequence[int]) -> None:
        self._joiner = job.joiner(custom_ids, positions)
        self._rows = OrderedRows(self._joiner, MAX_HELD_BYTES)
        self._lines = WholeLines("the file")
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def begin(self, subject: str, *, skips_damage: bool) -> None:
        """Say that a file begins."""
        self._lines = WholeLines(subject)
        self._joiner.begin(subject, skips_damage=skips_damage)

    def write(self, data: bytes, /) -> int:
        """Take the next piece of the file."""
        for start in range(0, len(data), BLOCK_BYTES):
            self.take(data, start, min(start + BLOCK_BYTES, len(data)))
        return len(data)

    def take(self, memory: bytes | mmap, start: int, stop: int) -> None:
        """
        Take the next piece of the file from where it lies.

        :param memory: Where.
        :param start: Where in it the piece begins.
        :param stop: Where it ends.
        :raises DownloadError: A line is no JSON object.
        """
        if lines := self._lines.feed(memory, start, stop):
            self._joiner.feed(lines)
            self._rows.grow(len(lines))

    def end(self) -> bool:
        """Say that the file has ended."""
        if line := self._lines.finish():
            self._joiner.feed(line)
        self._joiner.settle()
        return self._joiner.ends_whole

    def roll_back(self) -> None:
        """Forget all that came since the file began."""
        self._joiner.roll_back()

    def finish(self) -> Joined:
        """Settle what is open."""
        self._joiner.finish()
        self._bytes = self._joiner.count_bytes()
        return Joined(self._joiner.tally, self._joiner.open_positions, self._bytes)

    def write_to(self, path: str, offset: int) -> None:
        """Write all rows in order."""
        target = os.open(path, os.O_WRONLY)
        try:
            os.lseek(target, offset, os.SEEK_SET)
            self._rows.write_to(target, self._bytes)
        finally:
            os.close(target)

    def close(self) -> None:
        """Throw away rows that were put into local files."""
        self._rows.close()
