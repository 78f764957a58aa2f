"""Rows of one batch held in memory until all are there, and beyond a limit in local files. Loads no Airflow."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from itertools import chain, repeat
from typing import IO, Protocol, cast

# What is written at once fits in a core's own cache, if rows are as large as they mostly are.
ROWS_AT_ONCE = 500
# Rows that were put into files, perhaps because they are large, come back a few at a time.
SPILLED_ROWS_AT_ONCE = 50
MAX_FILES = 512
FILE_BUFFER = 1 << 18


class Rows(Protocol):
    """
    Where rows come from.

    :param tails: The rows without their heads, by position. One that went to a local file is replaced by a number.
    """

    tails: list[bytes | int | None]

    def settle(self) -> None:
        """Put all that has come into ``tails``."""

    def heads(self, start: int, stop: int) -> list[bytes]:
        """Return the heads of some rows."""


class OrderedRows:
    """
    Writes rows in their order that came in any, in bounded memory.

    :param rows: The rows; filled by somebody else.
    :param max_bytes: About how many bytes of rows are held in memory.
    """

    def __init__(self, rows: Rows, max_bytes: int) -> None:
        self._rows = rows
        self._max_bytes = max_bytes
        self._held = 0
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def close(self) -> None:
        """Throw the local files away."""
        self._stack.close()

    def grow(self, size: int) -> None:
        """
        Note that rows came.

        :param size: About how many bytes they have.
        """
        self._held += size
        if self._held > self._max_bytes:
            self._spill()

    def write_to(self, target: int, room: int) -> None:
        """
        Write all rows in order, and forget each: letting go of what has just been read takes less time than later.

        :param target: Descriptor of an open local file.
        :param room: How many bytes they have. Behind it are the rows of others, which are not written over.
        """
        at_once = SPILLED_ROWS_AT_ONCE if self._files else ROWS_AT_ONCE
        all_tails = self._rows.tails
        for start in range(0, len(all_tails), at_once):
            some = all_tails[start : start + at_once]
            all_tails[start : start + at_once] = repeat(None, len(some))
            tails = list(map(self._read, some)) if self._files else cast("list[bytes]", some)
            heads = self._rows.heads(start, start + len(some))
            try:
                data = b"".join(chain.from_iterable(zip(heads, tails, strict=True)))
            except TypeError:
                raise RuntimeError("A row was never written. Please report this as a bug.") from None
            room -= len(data)
            if room < 0:
                break
            _write_all(target, data)
        if room:
            raise RuntimeError(
                f"Rows do not fit in the room made for them ({room:+,} bytes). Please report this as a bug."
            )

    def _read(self, tail: bytes | int | None) -> bytes:
        if not isinstance(tail, int):
            return cast("bytes", tail)
        offset, number = divmod(tail, MAX_FILES)
        file = self._files[number - 1]
        if file.tell() != offset:  # nearly always there it is: rows lie in the file in their order
            file.seek(offset)
        return file.readline()

    def _spill(self) -> None:
        number = len(self._files) + 1
        if number == MAX_FILES:
            raise RuntimeError(f"Rows of one batch with over {MAX_FILES * self._max_bytes:,} bytes cannot be ordered.")
        self._rows.settle()
        tails = self._rows.tails
        held = [position for position, tail in enumerate(tails) if isinstance(tail, bytes)]
        file = self._stack.enter_context(tempfile.TemporaryFile(buffering=FILE_BUFFER, prefix="batch-rows-"))  # noqa: SIM115 - the stack closes it
        self._files.append(file)
        file.writelines(tails[position] for position in held)
        offset = 0
        for position in held:
            size = len(cast("bytes", tails[position]))
            tails[position] = offset * MAX_FILES + number
            offset += size
        self._held = 0


def _write_all(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # twice only when the disk is nearly full; the next call says so
        rest = rest[os.write(target, rest) :]
