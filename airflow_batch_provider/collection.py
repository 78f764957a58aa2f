"""Bringing the results of one batch to storage, as the service wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.results import ResultFile, result_files
from airflow_batch_provider.client.sender import Writable
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.rows import RowCounter
from airflow_batch_provider.exceptions import NotFoundError
from airflow_batch_provider.storage import paths, whole_files


def collect_results(client: BatchClient, batch: Batch, folder: str) -> dict[str, Any]:
    """
    Download output and error file of an ended batch.

    :param client: The service.
    :param batch: The batch. Expired and cancelled ones keep what was finished.
    :param folder: Where the files go: local path or URL. They are named after the batch, so that several batches can
        share a folder.
    :returns: ``{"output": part, "errors": part, "status": ...}``; a part is ``{"path", "rows", "bytes"}``, or None
        when the service has no such file or an empty one.
    :raises BatchNotEndedError: The batch has not ended.
    :raises BatchFailedError: The batch was refused and has no results.
    :raises DownloadError: A file arrived short or altered; nothing of it was kept.
    """
    files = result_files(client, batch)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", batch.id)[-120:]
    parts = {file.kind: _save(file, paths.join(folder, f"{stem}_{file.kind}.jsonl")) for file in files}
    return {"output": None, "errors": None, **parts, "status": batch.status.value}


def _save(file: ResultFile, path: str) -> dict[str, Any] | None:
    target = paths.as_path(path)
    rows = 0

    @contextmanager
    def open_target() -> Iterator[Writable]:
        nonlocal rows
        with whole_files.WholeFile(target) as stream:
            checked = _CheckedTarget(stream, RowCounter(file.subject))
            yield checked
            checked.counter.finish()
            rows = checked.counter.rows

    received = file.download(open_target, file.ask_size())
    if received.bytes == 0:
        target.unlink(missing_ok=True)
        return None
    return {"path": path, "rows": rows, "bytes": received.bytes}


class _CheckedTarget:
    """A stream whose rows are checked as they pass."""

    def __init__(self, stream: IO[bytes], counter: RowCounter) -> None:
        self.counter = counter
        self._stream = stream

    def write(self, data: bytes, /) -> int:
        self.counter.feed(data)
        return self._stream.write(data)


def delete_files(client: BatchClient, file_ids: Iterable[str]) -> list[str]:
    """
    Delete files at the service; one that is gone already counts as deleted.

    :param client: The service.
    :param file_ids: The files.
    :returns: Ids of the files that are gone now.
    """
    gone = []
    for file_id in file_ids:
        try:
            if client.delete_file(file_id):
                gone.append(file_id)
        except NotFoundError:
            gone.append(file_id)
    return gone
