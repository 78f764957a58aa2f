"""
A streaming reader for ``multipart/form-data``, made for one thing: large files at disk speed in flat memory.

It has no I/O. Feed it the body as it arrives, in pieces of any size, and it yields events: a part starts, a part
has data, a part ends. It searches whole pieces with ``bytes.find`` and hands out views into them, so the cost per
byte is one search and one small copy, and it never holds more than one piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_HEADER_BYTES = 16 * 1024
"""A part's headers are a few lines; a client that sends more is not sending multipart."""

_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]+)\"|([^;\s]+))", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*([\w*]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s]*))")


class MultipartError(Exception):
    """The body is not the multipart message its headers announce."""


class PartStart(NamedTuple):
    """A part begins; ``filename`` is None for a plain field."""

    name: str
    filename: str | None


class PartData(NamedTuple):
    """The next piece of the part's content; the view is valid as long as it is kept."""

    data: memoryview


class PartEnd(NamedTuple):
    """The part is complete."""


Event = PartStart | PartData | PartEnd


def boundary_of(content_type: str) -> bytes:
    """
    Return the boundary a ``Content-Type`` header announces.

    :param content_type: The header's value.
    :raises MultipartError: it is not multipart/form-data or names no boundary.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise MultipartError("Expected a multipart/form-data body with a boundary.")
    return (found[1] or found[2]).encode("latin-1")


class MultipartReader:
    """
    Splits one multipart body into events.

    The states are methods; a state that leaves ``self._state`` alone needs more input.

    :param boundary: As :func:`boundary_of` returns it.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first boundary has no line end before it; lending it one makes all boundaries alike.
        self._buffer: bytes = b"\r\n"
        self._state: Callable[[], Iterator[Event]] = self._preamble

    def finish(self) -> None:
        """
        Take note that the body has ended.

        :raises MultipartError: it ended before its closing boundary.
        """
        if self._state != self._epilogue:
            raise MultipartError("The body ends before its closing boundary.")

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Yield what the next piece of the body completes.

        :param data: The bytes that follow those of the call before.
        :raises MultipartError: the body breaks the format.
        """
        self._buffer += data
        while True:
            state = self._state
            yield from state()
            if self._state == state:
                return

    def _preamble(self) -> Iterator[Event]:
        _, found = self._take_content()
        if found:
            self._state = self._after_boundary
        yield from ()

    def _content(self) -> Iterator[Event]:
        data, found = self._take_content()
        if data:
            yield PartData(data)
        if found:
            self._state = self._after_boundary
            yield PartEnd()

    def _take_content(self) -> tuple[memoryview, bool]:
        """Cut off what surely comes before the next boundary; say whether the boundary was reached."""
        end = self._buffer.find(self._delimiter)
        if end >= 0:
            return self._cut(end, end + len(self._delimiter)), True
        # The last bytes may be the beginning of a boundary whose rest is still on its way.
        end = max(0, len(self._buffer) - len(self._delimiter) + 1)
        return self._cut(end, end), False

    def _cut(self, end: int, rest: int) -> memoryview:
        data = memoryview(self._buffer)[:end]
        self._buffer = self._buffer[rest:]
        return data

    def _after_boundary(self) -> Iterator[Event]:
        if len(self._buffer) >= 2:
            mark, self._buffer = self._buffer[:2], self._buffer[2:]
            if mark == b"\r\n":
                self._state = self._headers
            elif mark == b"--":
                self._state = self._epilogue
            else:
                raise MultipartError("A boundary is followed by neither a line end nor '--'.")
        yield from ()

    def _headers(self) -> Iterator[Event]:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEADER_BYTES or (end < 0 and len(self._buffer) > MAX_HEADER_BYTES):
            raise MultipartError("A part's headers are too long.")
        if end >= 0:
            start = _parse_headers(self._buffer[:end])
            self._buffer = self._buffer[end + 4 :]
            self._state = self._content
            yield start

    def _epilogue(self) -> Iterator[Event]:
        self._buffer = b""
        yield from ()


def _parse_headers(block: bytes) -> PartStart:
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _parse_disposition(value)
    raise MultipartError("A part has no Content-Disposition header.")


def _parse_disposition(value: str) -> PartStart:
    found = {
        key.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for key, quoted, plain in _PARAMETER.findall(value)
    }
    if "name" not in found:
        raise MultipartError("A part has no name.")
    return PartStart(found["name"], found.get("filename"))
