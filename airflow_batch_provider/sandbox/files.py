"""The files of a sandbox: contents on disk, one record each in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airflow_batch_provider.sandbox.errors import no_such_file
from airflow_batch_provider.sandbox.ids import Ids
from airflow_batch_provider.sandbox.records import RecordFolder

OCTET_STREAM = "application/octet-stream"


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known about a file.

    :param id: Its id.
    :param sequence: Its place in the order of creation.
    :param size: Its length in bytes.
    :param created_at: Epoch seconds.
    :param filename: The name its uploader gave it.
    :param purpose: What it is for.
    :param expires_at: When it vanishes; None: never.
    :param content_type: What its content is served as.
    """

    id: str
    sequence: int
    size: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | None = None
    content_type: str = OCTET_STREAM

    def to_wire(self) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class FileStore:
    """
    Keeps files.

    Requests use it from the event loop, batches from worker threads; the lock makes the record of a file and its
    place in the order one step.

    :param folder: Where contents and records are kept.
    :param ids: Makes the ids.
    :param clock: Returns epoch seconds.
    :param is_kept: True when records have to outlive this sandbox.
    """

    def __init__(self, folder: Path, *, ids: Ids, clock: Callable[[], float], is_kept: bool) -> None:
        self._folder = folder
        self._ids = ids
        self._clock = clock
        self._lock = threading.Lock()
        self._records = RecordFolder(folder, FileRecord, is_kept=is_kept)
        self._files = {record.id: record for record in sorted(self._records.load(), key=lambda record: record.sequence)}
        self._next_sequence = max((record.sequence for record in self._files.values()), default=-1) + 1
        self._next_aside = 0
        for leftover in folder.glob("*.part"):
            leftover.unlink()

    def path_aside(self) -> Path:
        """Return a fresh path for content that is not a file yet; :meth:`add` makes it one."""
        with self._lock:
            self._next_aside += 1
            return self._folder / f"{self._next_aside}.part"

    def add(
        self,
        aside: Path,
        *,
        filename: str,
        purpose: str,
        keep_seconds: int | None = None,
        content_type: str = OCTET_STREAM,
    ) -> FileRecord:
        """
        Make a file of finished content.

        :param aside: Where the content is; it is moved from there.
        :param filename: The file's name.
        :param purpose: The file's purpose.
        :param keep_seconds: How long it lives; None: until it is deleted.
        :param content_type: What it is served as.
        """
        now = int(self._clock())
        with self._lock:
            record = FileRecord(
                id=self._fresh_id(),
                sequence=self._next_sequence,
                size=aside.stat().st_size,
                created_at=now,
                filename=filename,
                purpose=purpose,
                expires_at=None if keep_seconds is None else now + keep_seconds,
                content_type=content_type,
            )
            aside.replace(self.path(record))
            self._records.save(record.id, record)
            self._next_sequence += 1
            self._files[record.id] = record
        return record

    def _fresh_id(self) -> str:
        # With a seed, a sandbox that goes on from an earlier one begins with the same ids.
        while (file_id := self._ids.file()) in self._files:
            pass
        return file_id

    def get(self, file_id: str) -> FileRecord:
        """
        Return a file's record.

        :raises ApiError: there is no such file, or it has expired.
        """
        record = self._files.get(file_id)
        if record is None or self._is_expired(record):
            raise no_such_file(file_id)
        return record

    def _is_expired(self, record: FileRecord) -> bool:
        return record.expires_at is not None and record.expires_at <= self._clock()

    def path(self, record: FileRecord) -> Path:
        """Return where a file's content is."""
        return self._folder / record.id

    def delete(self, file_id: str) -> None:
        """
        Delete a file.

        :raises ApiError: there is no such file.
        """
        record = self.get(file_id)
        with self._lock:
            self._files.pop(file_id, None)
            self._records.remove(file_id)
        self.path(record).unlink(missing_ok=True)

    def all(self) -> list[FileRecord]:
        """Return every file that is there, in the order of creation."""
        return [record for record in list(self._files.values()) if not self._is_expired(record)]

    def select(
        self, *, after: str | None, limit: int, purpose: str | None, newest_first: bool
    ) -> tuple[list[FileRecord], bool]:
        """
        Return one page of files and whether there are more.

        :param after: The last id of the page before.
        :param limit: How many at most.
        :param purpose: Only files with this purpose.
        :param newest_first: The order.
        :raises ApiError: there is no file ``after``.
        """
        start = None if after is None else self.get(after).sequence
        found = [record for record in self.all() if purpose is None or record.purpose == purpose]
        if start is not None:
            found = [
                record for record in found if (record.sequence < start) == newest_first and record.sequence != start
            ]
        if newest_first:
            found.reverse()
        return found[:limit], len(found) > limit
