"""Result files: every line must be a whole JSON object, else the file is not what the service wrote."""

from __future__ import annotations

import json
from collections import deque
from mmap import mmap

import msgspec

from airflow_batch_provider.exceptions import DownloadError

MAX_ROW_BYTES = 256_000_000


class _Row(msgspec.Struct):
    """Any JSON object; its fields are skipped, which still checks that they are JSON."""


_decode = msgspec.json.Decoder(_Row).decode


def check_row(line: bytes) -> None:
    """
    Check that a line is a JSON object, or what services write for one.

    Its text is not checked: skipping a field does not look at its UTF-8.

    :param line: A line that is not blank.
    :raises ValueError: It is not (or RecursionError, when it is nested too deep to say).
    """
    try:
        _decode(line)
    except msgspec.DecodeError:
        # Some services write NaN, Infinity or half a surrogate pair. That is no sign of damage, and paid for.
        if not isinstance(json.loads(line), dict):
            raise


def is_row(line: bytes) -> bool:
    """
    Say whether a line is a whole row.

    :param line: The line.
    """
    if not line or line.isspace():
        return False
    try:
        if not line.isascii():
            line.decode()
        check_row(line)
    except (ValueError, RecursionError):
        return False
    return True


def damaged(subject: str, number: int, error: Exception) -> DownloadError:
    """
    Make the error for a line that is no row.

    :param subject: Which file.
    :param number: Which row of it, from 1.
    :param error: Why it is none; only its kind is told, its text may hold the data.
    """
    return DownloadError(
        f"Row {number:,} of {subject} is not a whole JSON object ({type(error).__name__}). The file "
        "was truncated or altered on the way, and nothing was kept."
    )


class WholeLines:
    """
    Cuts a stream into blocks of whole lines.

    :param subject: Which file, for the error text.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, chunk: bytes | mmap, start: int = 0, stop: int | None = None) -> bytes:
        """
        Take the next piece of the file.

        :param chunk: Bytes, or memory that has them; it is copied.
        :param start: Where in it the piece begins.
        :param stop: Where it ends.
        :returns: The lines that are whole now, up to their last line break; or nothing.
        :raises DownloadError: A line is too long to be a row.
        """
        stop = len(chunk) if stop is None else stop
        end = chunk.rfind(b"\n", start, stop) + 1
        if not end:
            self._keep(chunk[start:stop])
            return b""
        lines = b"".join((*self._rest, memoryview(chunk)[start:end]))
        self._rest, self._rest_bytes = [], 0
        self._keep(chunk[end:stop])
        return lines

    def finish(self) -> bytes:
        """Say that the file has ended; the last line, when it has no line break."""
        rest, self._rest, self._rest_bytes = b"".join(self._rest), [], 0
        return rest

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_bytes += len(piece)
        if self._rest_bytes > MAX_ROW_BYTES:
            raise DownloadError(
                f"{self._subject} has a line of over {MAX_ROW_BYTES:,} bytes, so it is not a file of rows."
            )


class RowCounter:
    """
    Counts and checks the lines of a result file while it streams by.

    :param subject: Which file, for the error text.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.rows = 0
        self._lines = WholeLines(subject)

    def feed(self, chunk: bytes) -> None:
        """
        Take the next piece of the file.

        :param chunk: Bytes.
        :raises DownloadError: A line is not a JSON object.
        """
        self._check(self._lines.feed(chunk))

    def finish(self) -> None:
        """
        Say that the file has ended. A last line without a line break counts when it is whole.

        :raises DownloadError: The file ends in the middle of a line.
        """
        self._check(self._lines.finish())

    def _check(self, lines: bytes) -> None:
        try:
            if not lines.isascii():
                lines.decode()  # skipping a field does not check its UTF-8
            each = lines.split(b"\n")
            if not each[-1]:
                each.pop()
            if self._are_plain(each):
                self.rows += len(each)
                return
            for line in each:
                if line and not line.isspace():
                    check_row(line)
                    self.rows += 1
        except (ValueError, RecursionError) as error:
            before = lines[: error.start].split(b"\n")[:-1] if isinstance(error, UnicodeDecodeError) else []
            number = self.rows + 1 + sum(not line.isspace() for line in before if line)
            raise damaged(self.subject, number, error) from None

    @staticmethod
    def _are_plain(lines: list[bytes]) -> bool:
        """Say whether all are rows without further ado; nearly always so, and without a Python loop."""
        try:
            deque(map(_decode, lines), maxlen=0)
        except (msgspec.DecodeError, RecursionError):
            return False
        return True
