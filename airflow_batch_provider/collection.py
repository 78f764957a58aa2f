"""Bringing the results of one batch to storage, as the service wrote them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.downloads import Download
from airflow_batch_provider.client.sender import OpenTarget, Writable
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.judging import failed_error, not_ended_error
from airflow_batch_provider.core.rows import RowCounter
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiError, DownloadError, NotFoundError
from airflow_batch_provider.storage import paths

log = logging.getLogger(__name__)


def collect_results(
    client: BatchClient, batch: Batch, folder: str, *, accepts_damaged_rows: bool = False
) -> dict[str, Any]:
    """
    Download output and error file of an ended batch.

    :param client: The service.
    :param batch: The batch. Expired and cancelled ones keep what was finished.
    :param folder: Where the files go: local path or URL. They are named after the batch, so that several batches can
        share a folder.
    :param accepts_damaged_rows: Keep also a file in which lines are no rows, if it has the size the service says: then
        the service wrote it so, and its other rows are paid for. Its part has ``"is_damaged": True``.
    :returns: ``{"output": part, "errors": part, "status": ...}``; a part is ``{"path", "rows", "bytes"}``, or None
        when the service has no such file or an empty one.
    :raises BatchNotEndedError: The batch has not ended.
    :raises BatchFailedError: The batch was refused and has no results.
    :raises DownloadError: A file arrived short or altered; nothing of it was kept.
    """
    if not batch.status.has_ended:
        raise not_ended_error(batch)
    from_route = client.settings.results_from == "output"
    # On the gateway's output route file ids say nothing: Bedrock and Vertex name their folder from the start.
    if batch.status is BatchStatus.FAILED and (from_route or not (batch.output_file_id or batch.error_file_id)):
        raise failed_error(batch)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", batch.id)[-120:]
    if from_route:
        output = _save(
            lambda target: client.get_batch_output(batch.id, target),
            paths.join(folder, f"{stem}_output.jsonl"),
            f"the output of batch {batch.id}",
        )
        return {"output": output, "errors": None, "status": batch.status.value}
    save_file = partial(_save_file, client, accepts_damaged_rows=accepts_damaged_rows)
    return {
        "output": save_file(batch.output_file_id, paths.join(folder, f"{stem}_output.jsonl")),
        "errors": save_file(batch.error_file_id, paths.join(folder, f"{stem}_errors.jsonl")),
        "status": batch.status.value,
    }


def expected_bytes(client: BatchClient, file_id: str) -> int | None:
    """
    Size a file should have, by the service's word; None when it gives none or is not to be believed.

    :param client: The service.
    :param file_id: The file.
    """
    if not client.settings.check_file_sizes:
        return None
    try:
        return client.get_file(file_id).bytes or None
    except ApiError:
        return None  # not every service has this route; the rows are checked all the same


def _save_file(
    client: BatchClient, file_id: str | None, path: str, *, accepts_damaged_rows: bool
) -> dict[str, Any] | None:
    if file_id is None:
        return None
    size = expected_bytes(client, file_id)
    download = partial(client.download_file, file_id, expected_bytes=size)
    try:
        return _save(download, path, f"file {file_id}")
    except DownloadError as error:
        if not accepts_damaged_rows or size is None:
            raise
        part = _save(download, path, f"file {file_id}", is_checked=False)
        log.warning("%s But it has the size the service says, so the rest of its rows counts.", error)
        return None if part is None else part | {"is_damaged": True}


def _save(
    download: Callable[[OpenTarget], Download], path: str, subject: str, *, is_checked: bool = True
) -> dict[str, Any] | None:
    target = paths.as_path(path)
    rows = 0

    @contextmanager
    def open_target() -> Iterator[Writable]:
        nonlocal rows
        with paths.WholeFile(target) as stream:
            if not is_checked:
                yield stream
                return
            checked = _CheckedTarget(stream, RowCounter(subject))
            yield checked
            checked.counter.finish()
            rows = checked.counter.rows

    received = download(open_target)
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
