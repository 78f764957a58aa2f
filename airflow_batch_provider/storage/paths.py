"""
Naming files, and reading them in large pieces.

That matters on object stores: iterating an ``ObjectStoragePath`` line by line costs 0.2 ms a line on s3fs (verified with
Airflow 3.3.2).
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.requests import clean_line
from airflow_batch_provider.exceptions import InputError

log = logging.getLogger(__name__)

# What fits in a core's cache: with 1 MB, reading and writing lines takes twice as long (docs/benchmarks.md).
CHUNK_BYTES = 1 << 18


class Readable(Protocol):
    """Anything with ``read(size) -> bytes`` and ``close()``."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


def as_path(path: str | os.PathLike[str]) -> ObjectStoragePath:
    """
    A path on local disk or object storage.

    :param path: A local path, or a URL such as ``s3://conn_id@bucket/key``.
    """
    return path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(os.fspath(path))


def local_path(path: ObjectStoragePath) -> Path | None:
    """
    The path on this machine's disk, or None for object storage.

    :param path: Any path.
    """
    return Path(path.path) if path.protocol in ("", "file", "local") else None


def on_disk(path: str | os.PathLike[str]) -> Path:
    """
    The path on this machine's disk of what surely is there, however it is written.

    :param path: A local path, or a URL such as ``file:///data/out``.
    """
    local = local_path(as_path(path))
    if local is None:
        raise ValueError(f"{path} is not on this machine.")
    return local


def join(folder: str | os.PathLike[str], name: str) -> str:
    """
    A file in a folder, as text that reads like the folder was written.

    :param folder: Local path or URL, with or without a slash at the end.
    :param name: File name.
    """
    return f"{os.fspath(folder).rstrip('/')}/{name}"


def file_size(path: ObjectStoragePath) -> int:
    """
    Size of a file in bytes.

    :param path: The file.
    :raises InputError: There is no such file.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise _no_file(path) from error
    # Not path.is_dir(): on an object store a name can be an object and the beginning of others.
    if stat.S_ISDIR(found.st_mode):
        raise _no_file(path)
    return int(found.st_size)


def open_input(path: ObjectStoragePath) -> IO[bytes]:
    """
    Open a file for reading in large pieces.

    :param path: The file.
    :raises InputError: There is no such file.
    """
    if local_path(path) is None:
        file_size(path)  # a folder on an object store opens like an empty file
    try:
        stream: IO[bytes] = path.open("rb", **({} if local_path(path) else {"block_size": 8 << 20}))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise _no_file(path) from error
    return stream


def _no_file(path: ObjectStoragePath) -> InputError:
    return InputError(f"There is no file {path}; nothing was sent. Check the path and its connection.")


def read_chunks(stream: Readable) -> Iterator[bytes]:
    """
    The content of a stream in large pieces.

    :param stream: An open file.
    """
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def read_line_blocks(stream: Readable, *, max_line_bytes: int) -> Iterator[list[bytes]]:
    r"""
    The lines of a stream, many at a time, each with its ``\n`` (the last one may have none).

    :param stream: An open file.
    :param max_line_bytes: Longest line that is held in memory.
    :raises InputError: A line is longer than that.
    """
    held: list[bytes] = []  # pieces of a line that has not ended; joined once, however many there are
    for chunk in read_chunks(stream):
        lines = io.BytesIO(chunk).readlines()
        held.append(lines[0])
        if lines[0].endswith(b"\n"):
            lines[0] = b"".join(held)
            held = [] if lines[-1].endswith(b"\n") else [lines.pop()]
            yield lines
        if sum(map(len, held)) > max_line_bytes:
            raise InputError(
                f"A line is longer than {max_line_bytes:,} bytes; nothing was sent. Is the file JSON lines?"
            )
    if held:
        yield [b"".join(held)]


class CleanedStream:
    r"""
    A file of requests with its lines cleaned: no byte order mark, ``\n`` endings, no blank lines.

    :param stream: The open file; closed with this one.
    :param max_line_bytes: Longest line that is held in memory.
    """

    def __init__(self, stream: Readable, *, max_line_bytes: int) -> None:
        self._stream = stream
        self._blocks = self._clean(read_line_blocks(stream, max_line_bytes=max_line_bytes))
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stream.close()

    def read(self, size: int = -1, /) -> bytes:
        """
        The next bytes.

        :param size: At most this many; negative for all.
        """
        while size < 0 or len(self._rest) < size:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest += block
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    @staticmethod
    def _clean(blocks: Iterator[list[bytes]]) -> Iterator[bytes]:
        is_first = True
        for lines in blocks:
            cleaned = []
            for line in lines:
                cleaned.append(clean_line(line, is_first=is_first))
                is_first = False
            yield b"".join(cleaned)
