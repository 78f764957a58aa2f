"""Result files: every line must be a whole JSON object, else the file is not what the service wrote."""

from __future__ import annotations

import json
from collections import deque

import msgspec

from airflow_batch_provider.exceptions import DownloadError

MAX_ROW_BYTES = 256_000_000


class _Row(msgspec.Struct):
    """Any JSON object; its fields are skipped, which still checks that they are JSON."""


def is_row(line: bytes) -> bool:
    """
    Say whether a line is a whole row.

    :param line: The line.
    """
    counter = RowCounter("the line")
    try:
        counter.feed(line)
        counter.finish()
    except DownloadError:
        return False
    return counter.rows == 1


class RowCounter:
    """
    Counts and checks the lines of a result file while it streams by.

    :param subject: Which file, for the error text.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.rows = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._decoder = msgspec.json.Decoder(_Row)

    def feed(self, chunk: bytes) -> None:
        """
        Take the next piece of the file.

        :param chunk: Bytes.
        :raises DownloadError: A line is not a JSON object.
        """
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return
        lines = b"".join((*self._rest, chunk[:end]))
        self._rest, self._rest_bytes = [], 0
        self._keep(chunk[end + 1 :])
        self._check(lines)

    def finish(self) -> None:
        """
        Say that the file has ended. A last line without a line break counts when it is whole.

        :raises DownloadError: The file ends in the middle of a line.
        """
        self._check(b"".join(self._rest))

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_bytes += len(piece)
        if self._rest_bytes > MAX_ROW_BYTES:
            raise DownloadError(
                f"{self.subject} has a line of over {MAX_ROW_BYTES:,} bytes, so it is not a file of rows."
            )

    def _check(self, lines: bytes) -> None:
        try:
            if not lines.isascii():
                lines.decode()  # skipping a field does not check its UTF-8
            each = lines.split(b"\n")
            if self._are_plain(each):
                self.rows += len(each)
                return
            for line in each:
                if line and not line.isspace():
                    self._check_row(line)
                    self.rows += 1
        except (ValueError, RecursionError) as error:
            before = lines[: error.start].split(b"\n")[:-1] if isinstance(error, UnicodeDecodeError) else []
            number = self.rows + 1 + sum(not line.isspace() for line in before if line)
            raise DownloadError(
                f"Row {number:,} of {self.subject} is not a whole JSON object ({type(error).__name__}). The file "
                "was truncated or altered on the way, and nothing was kept."
            ) from None

    def _are_plain(self, lines: list[bytes]) -> bool:
        """Say whether all are rows without further ado; nearly always so, and without a Python loop."""
        try:
            deque(map(self._decoder.decode, lines), maxlen=0)
        except (msgspec.DecodeError, RecursionError):
            return False
        return True

    def _check_row(self, line: bytes) -> None:
        try:
            self._decoder.decode(line)
        except msgspec.DecodeError:
            # Some services write NaN, Infinity or half a surrogate pair. That is no sign of damage, and paid for.
            if not isinstance(json.loads(line), dict):
                raise
