"""Our own files, many lines at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.storage import paths

WRITE_BYTES = 4 << 20
# A local disk takes pieces that still are in the core's cache better.
LOCAL_WRITE_BYTES = 1 << 18
COPY_BYTES = 8 << 20


def read_blocks(path: str) -> Iterator[list[bytes]]:
    """
    The lines of one of our own files, many at a time.

    :param path: The file.
    """
    with paths.open_input(paths.as_path(path)) as stream:
        yield from paths.read_line_blocks(stream, max_line_bytes=1 << 30)


def concatenate(files: Sequence[ObjectStoragePath], target: IO[bytes]) -> int:
    """
    Copy files of whole lines one behind the other.

    :param files: The files.
    :param target: An open file.
    :returns: How many lines they have.
    :raises InputError: One of them is not there.
    """
    if not isinstance(target, io.BufferedWriter) or any(paths.local_path(each) is None for each in files):
        return sum(_copy(each, target) for each in files)
    # The kernel copies local files without our help, so that there is time to count meanwhile.
    with ThreadPoolExecutor(1) as pool:
        counted = pool.submit(lambda: sum(map(_count, files)))
        for each in files:
            _copy_locally(each, target)
        return counted.result()


def _copy(file: ObjectStoragePath, target: IO[bytes]) -> int:
    lines = 0
    with paths.open_input(file) as stream:
        while chunk := stream.read(WRITE_BYTES):
            lines += chunk.count(b"\n")
            target.write(chunk)
    return lines


def _count(file: ObjectStoragePath) -> int:
    with paths.open_input(file) as stream:
        return sum(len(chunk.split(b"\n")) - 1 for chunk in paths.read_chunks(stream))


def _copy_locally(file: ObjectStoragePath, target: io.BufferedWriter) -> None:
    with paths.open_input(file) as stream:
        source = stream.fileno()
        with suppress(OSError, AttributeError):  # not on every system, nor between all file systems
            while os.copy_file_range(source, target.fileno(), COPY_BYTES):
                pass
        while chunk := os.read(source, WRITE_BYTES):  # whatever it left: usually nothing
            target.write(chunk)
        target.flush()


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
