"""Uploads: a multipart body that streams to disk while it arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from airflow_batch_provider.sandbox.errors import ApiError, invalid_value, missing_parameter
from airflow_batch_provider.sandbox.files import FileRecord, FileStore
from airflow_batch_provider.sandbox.multipart import (
    Event,
    MultipartError,
    MultipartReader,
    PartData,
    PartStart,
    boundary_of,
)

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
WRITE_BYTES = 1024 * 1024
MAX_FIELD_BYTES = 64 * 1024
KEEP_SECONDS = range(3_600, 2_592_001)


class Upload:
    """
    Collects one upload: small fields in memory, the file on disk.

    :param aside: Where the file's content goes.
    :param max_bytes: The largest content.
    """

    def __init__(self, aside: Path, *, max_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self._max_bytes = max_bytes
        self._out: BinaryIO = aside.open("wb", buffering=0)
        self._field: str | None = None
        self._pending = bytearray()

    def take(self, event: Event) -> None:
        """
        Take the next event of the body.

        :raises ApiError: the upload is over a limit.
        """
        if isinstance(event, PartStart):
            self._start(event)
        elif isinstance(event, PartData):
            self._append(event.data)
        elif self._field is not None:
            self.fields[self._field] = self._pending.decode("utf-8", "replace")
            self._pending = bytearray()

    def _start(self, part: PartStart) -> None:
        is_file = part.name == "file" and part.filename is not None
        self._field = None if is_file else part.name
        if is_file:
            self.filename = part.filename

    def _append(self, data: memoryview) -> None:
        self._pending += data
        if self._field is not None and len(self._pending) > MAX_FIELD_BYTES:
            raise ApiError(400, f"The field '{self._field}' is too long.", param=self._field)
        if self._field is None:
            self.size += len(data)
            if self.size > self._max_bytes:
                raise ApiError(
                    413, f"The file is larger than the {self._max_bytes} bytes that are allowed.", param="file"
                )

    async def flush(self, at_least: int = 1) -> None:
        """Write what is pending of the file, in a thread, once it is ``at_least`` this much."""
        if self._field is None and len(self._pending) >= at_least:
            pending, self._pending = self._pending, bytearray()
            await asyncio.to_thread(_write_all, self._out, pending)

    def close(self) -> None:
        """Close the file on disk."""
        self._out.close()


def _write_all(out: BinaryIO, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


async def receive_upload(
    content_type: str, body: AsyncIterator[bytes], files: FileStore, *, max_bytes: int
) -> FileRecord:
    """
    Turn the body of ``POST /files`` into a file.

    :param content_type: The request's content type.
    :param body: The body as it arrives.
    :param files: Where the file goes.
    :param max_bytes: The largest file.
    :raises ApiError: the body is not an acceptable upload; nothing of it is kept.
    """
    aside = files.path_aside()
    with contextlib.closing(Upload(aside, max_bytes=max_bytes)) as upload, _removed_on_error(aside):
        await _read_body(content_type, body, upload)
        _check(upload)
        return files.add(
            aside,
            filename=upload.filename or "",
            purpose=upload.fields["purpose"],
            keep_seconds=keep_seconds_of(upload.fields),
        )


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _read_body(content_type: str, body: AsyncIterator[bytes], upload: Upload) -> None:
    try:
        reader = MultipartReader(boundary_of(content_type))
        async for piece in body:
            for event in reader.feed(piece):
                if isinstance(event, PartStart):
                    await upload.flush()
                upload.take(event)
            await upload.flush(at_least=WRITE_BYTES)
        await upload.flush()
        reader.finish()
    except MultipartError as error:
        raise ApiError(400, f"Could not parse multipart form: {error}") from error


def _check(upload: Upload) -> None:
    if "purpose" not in upload.fields:
        raise missing_parameter("purpose")
    if upload.fields["purpose"] not in PURPOSES:
        raise invalid_value("purpose", upload.fields["purpose"], ", ".join(PURPOSES))
    if upload.filename is None:
        raise missing_parameter("file")
    if upload.fields["purpose"] == "batch" and not upload.filename.endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
    if upload.size == 0:
        raise ApiError(400, "File is empty.", param="file")


def keep_seconds_of(fields: dict[str, str]) -> int | None:
    """
    Read the ``expires_after[...]`` fields.

    :param fields: The form's fields.
    :raises ApiError: they are there and unusable.
    """
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid_value("expires_after[anchor]", anchor, "created_at")
    if seconds is None or not seconds.isdigit() or int(seconds) not in KEEP_SECONDS:
        raise invalid_value("expires_after[seconds]", seconds, f"{KEEP_SECONDS.start} to {KEEP_SECONDS.stop - 1}")
    return int(seconds)
