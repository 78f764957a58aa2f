"""Checking a file of requests and uploading exactly what was checked."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Readable, Upload
from airflow_batch_provider.core.batches import RemoteFile
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import CheckedRequests, RequestChecker
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths


@dataclass(frozen=True)
class CheckedFile:
    """
    A file that is fit to be sent.

    :param path: Where it is.
    :param found: What the check found out.
    :param raw_bytes: Its size as it stands.
    :param digest: Hash of its content as it stands, so that another content is never sent in its place.
    """

    path: str
    found: CheckedRequests
    raw_bytes: int
    digest: bytes


def check_file(path: str, limits: BatchLimits, endpoint: str | None) -> CheckedFile:
    """
    Check a file of requests for one batch.

    :param path: Local path or object storage URL.
    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None takes that of the first.
    :raises InputError: Something is wrong, named with line and field.
    """
    checker = RequestChecker(limits, endpoint)
    source = paths.as_path(path)
    with _HashedStream(paths.open_input(source)) as stream:
        for lines in paths.read_line_blocks(stream, max_line_bytes=limits.max_bytes):
            checker.feed(lines)
    return CheckedFile(path, checker.result(source.name), stream.bytes, stream.digest())


def upload_checked(client: BatchClient, checked: CheckedFile, filename: str | None) -> RemoteFile:
    """
    Upload a file that was checked, cleaned if it needs to be.

    :param client: The service.
    :param checked: The file.
    :param filename: Name at the service; None for the file's own.
    :raises InputError: The file has changed since the check; the upload was broken off before its end.
    """
    source = paths.as_path(checked.path)

    def open_source() -> AbstractContextManager[Readable]:
        stream = _SameStream(paths.open_input(source), checked)
        if not checked.found.needs_cleaning:
            return stream
        return paths.CleanedStream(stream, max_line_bytes=client.settings.limits.max_bytes)

    return client.upload_file(Upload(open_source, checked.found.bytes, filename or source.name))


class _HashedStream:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.bytes = 0
        self._stream = stream
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._stream.read(size)
        self._hash.update(chunk)
        self.bytes += len(chunk)
        return chunk

    def digest(self) -> bytes:
        return self._hash.digest()

    def close(self) -> None:
        self._stream.close()


class _SameStream(_HashedStream):
    """A stream that fails before its end when its content is not what was checked."""

    def __init__(self, stream: IO[bytes], checked: CheckedFile) -> None:
        super().__init__(stream)
        self._checked = checked

    def read(self, size: int = -1, /) -> bytes:
        chunk = super().read(size)
        has_grown = self.bytes > self._checked.raw_bytes
        if has_grown or (not chunk and self.digest() != self._checked.digest):
            raise InputError(
                f"{self._checked.path} changed between the check and the upload; the upload was broken off and no file "
                "was made at the service. Let the file be finished before this task runs."
            )
        return chunk
