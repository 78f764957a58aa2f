"""
Take a file out of a gateway's ``{"html-message": "..."}``.

A Portkey gateway turns any answer with a text content type into that JSON object. The file is inside, as one JSON
string that may be as long as the largest result file, so it is unescaped piece by piece.
"""

from __future__ import annotations

import json
import re

from airflow_batch_provider.exceptions import DownloadError

_OPENING = b'{"html-message":"'
_UP_TO_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# None of these can be part of an escape sequence or of a multi-byte character, so cutting behind one is always safe.
_SAFE_CUTS = (b",", b" ", b":", b"}")
_MAX_HELD_BYTES = 64_000_000


class Unwrapper:
    """
    Passes a body through, unwrapped if it is wrapped.

    Feed every piece to :meth:`feed`, write what it returns, then call :meth:`finish`.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._is_wrapped: bool | None = None
        self._has_closed = False

    def feed(self, chunk: bytes) -> bytes:
        """
        Take the next piece.

        :param chunk: Bytes of the body.
        :returns: Bytes of the file, as far as they are certain.
        :raises DownloadError: The wrapping is broken.
        """
        if self._is_wrapped is False:
            return chunk
        self._buffer += chunk
        if self._is_wrapped is None and not self._recognise():
            return b""
        if self._is_wrapped:
            return self._unescape()
        passed, self._buffer = self._buffer, b""
        return passed

    def finish(self) -> bytes:
        """
        Say that the body has ended.

        :returns: The last bytes of the file.
        :raises DownloadError: The wrapping was opened and never closed: the file is incomplete.
        """
        if self._is_wrapped is None:
            return self._buffer
        if self._is_wrapped and not self._has_closed:
            raise DownloadError("The gateway's wrapped answer ends in the middle of the file.")
        self._check_tail()
        return b""

    def _recognise(self) -> bool:
        if len(self._buffer) < len(_OPENING) and _OPENING.startswith(self._buffer):
            return False
        self._is_wrapped = self._buffer.startswith(_OPENING)
        if self._is_wrapped:
            self._buffer = self._buffer[len(_OPENING) :]
        return True

    def _unescape(self) -> bytes:
        if self._has_closed:
            self._check_tail()
            return b""
        end = _closing_quote(self._buffer)
        if end is None:
            cut = _certain_length(self._buffer)
            piece, self._buffer = self._buffer[:cut], self._buffer[cut:]
        else:
            piece, self._buffer, self._has_closed = self._buffer[:end], self._buffer[end + 1 :], True
        try:
            # The pieces are cut between characters; a lone surrogate is the service's own and stays one.
            return str(json.loads(b'"' + piece + b'"')).encode("utf-8", "surrogatepass")
        except ValueError as error:
            raise DownloadError("The gateway's wrapped answer is not a JSON string.") from error

    def _check_tail(self) -> None:
        if self._buffer.strip() not in (b"", b"}"):
            raise DownloadError("The gateway's wrapped answer goes on after its end.")


def _closing_quote(buffer: bytes) -> int | None:
    match = _UP_TO_QUOTE.match(buffer)
    end = match.end() if match else 0
    return end if buffer[end : end + 1] == b'"' else None


def _certain_length(buffer: bytes) -> int:
    """How much of the buffer can be unescaped without knowing what follows."""
    cut = max(buffer.rfind(mark) for mark in _SAFE_CUTS) + 1
    if len(buffer) - cut > _MAX_HELD_BYTES:
        raise DownloadError("The gateway's wrapped answer is not JSON lines: no separator for 64 MB.")
    return cut
