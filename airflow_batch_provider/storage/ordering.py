"""Rows of one batch held in memory until all are there, and beyond a limit in local files."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, Self, cast

from airflow_batch_provider.storage.blocks import BlockWriter

ROWS_AT_ONCE = 250
MAX_FILES = 512


class OrderedRows:
    """
    Writes rows in their order that came in any, in bounded memory.

    :param rows: By position; filled by somebody else. A row that went to a local file is replaced by a number.
    :param max_bytes: About how many bytes of rows are held in memory.
    """

    def __init__(self, rows: list[bytes | int | None], max_bytes: int) -> None:
        self._rows = rows
        self._max_bytes = max_bytes
        self._held = 0
        self._files: list[IO[bytes]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def grow(self, size: int) -> None:
        """
        Note that rows were put.

        :param size: About how many bytes they have.
        """
        self._held += size
        if self._held > self._max_bytes:
            self._spill()

    def write_to(self, writer: BlockWriter) -> None:
        """
        Write all rows in order.

        :param writer: Where to.
        """
        for start in range(0, len(self._rows), ROWS_AT_ONCE):
            rows = self._rows[start : start + ROWS_AT_ONCE]
            try:
                block = b"".join(map(self._read, rows) if self._files else cast("list[bytes]", rows))
            except TypeError:
                raise RuntimeError("A row was never written. Please report this as a bug.") from None
            writer.write(block)
        writer.flush()

    def _read(self, row: bytes | int | None) -> bytes:
        if not isinstance(row, int):
            return cast("bytes", row)
        offset, number = divmod(row, MAX_FILES)
        file = self._files[number - 1]
        file.seek(offset)  # nearly always where it is: rows lie there in their order
        return file.readline()

    def _spill(self) -> None:
        number = len(self._files) + 1
        if number == MAX_FILES:
            raise RuntimeError(f"Rows of one batch with over {MAX_FILES * self._max_bytes:,} bytes cannot be ordered.")
        file = self._stack.enter_context(tempfile.TemporaryFile(prefix="batch-rows-"))  # noqa: SIM115 - the stack closes it
        self._files.append(file)
        offset = 0
        for position, row in enumerate(self._rows):
            if isinstance(row, bytes):
                file.write(row)
                self._rows[position] = offset * MAX_FILES + number
                offset += len(row)
        self._held = 0
