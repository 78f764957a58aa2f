"""Our own files, many lines at a time."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NamedTuple

from airflow_batch_provider.storage import paths

WRITE_BYTES = 4 << 20
# A local disk takes pieces that still are in the core's cache better.
LOCAL_WRITE_BYTES = 1 << 18
COPY_BYTES = 8 << 20


class FilePart(NamedTuple):
    """
    Whole lines in one of our own files.

    :param path: The file.
    :param offset: Where they begin.
    :param bytes: How many bytes they have.
    """

    path: str
    offset: int
    bytes: int


def read_blocks(source: str | FilePart) -> Iterator[list[bytes]]:
    """
    The lines of one of our own files, many at a time.

    :param source: The file, or a part of it.
    """
    path = source if isinstance(source, str) else source.path
    with paths.open_input(paths.as_path(path)) as stream:
        limited = stream if isinstance(source, str) else _Limited(stream, source)
        yield from paths.read_line_blocks(limited, max_line_bytes=1 << 30)


def copy_into(part: FilePart, target: IO[bytes]) -> int:
    """
    Copy lines behind what a target has.

    :param part: The lines.
    :param target: An open file.
    :returns: How many bytes; fewer than there should be when the file is shorter.
    :raises InputError: The file is not there.
    """
    path = paths.as_path(part.path)
    copied = 0
    with paths.open_input(path) as stream:
        if isinstance(target, io.BufferedWriter) and paths.local_path(path) is not None:
            target.flush()
            with suppress(OSError, AttributeError):  # not on every system, nor between all file systems
                while size := _copy_some(stream.fileno(), target.fileno(), part, copied):
                    copied += size
        rest = _Limited(stream, FilePart(part.path, part.offset + copied, part.bytes - copied))
        while chunk := rest.read(WRITE_BYTES):  # whatever the kernel left: usually nothing
            target.write(chunk)
            copied += len(chunk)
    return copied


def _copy_some(source: int, target: int, part: FilePart, copied: int) -> int:
    return os.copy_file_range(source, target, min(COPY_BYTES, part.bytes - copied), part.offset + copied)


class _Limited:
    """Reads a part of a stream."""

    def __init__(self, stream: IO[bytes], part: FilePart) -> None:
        self._stream = stream
        self._left = part.bytes
        stream.seek(part.offset)

    def read(self, size: int = -1, /) -> bytes:
        found = self._stream.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(found)
        return found

    def close(self) -> None:
        """The stream is closed by who opened it."""


@contextmanager
def local_twin(stream: IO[bytes]) -> Iterator[str]:
    """
    A local file that others can write, and whose content is then written to a stream.

    :param stream: An open file.
    :returns: The local file's name.
    """
    with tempfile.NamedTemporaryFile(prefix="batch-rows-") as twin:
        yield twin.name
        while chunk := twin.read(WRITE_BYTES):
            stream.write(chunk)


class BlockWriter:
    """
    Collects small writes into large ones: on object stores each write costs.

    :param stream: An open file.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._parts: list[bytes] = []
        self._size = 0
        self._enough = LOCAL_WRITE_BYTES if isinstance(stream, io.BufferedWriter) else WRITE_BYTES

    def write(self, data: bytes) -> None:
        """
        Write, soon.

        :param data: Bytes.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size >= self._enough:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        self._stream.write(b"".join(self._parts))
        self._parts, self._size = [], 0
