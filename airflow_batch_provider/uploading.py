"""Uploading shards, a few side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Self

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.shards import RunFolder


class Uploaded(NamedTuple):
    """A shard at the service: the file's id, and how many seconds it took to get it there."""

    file_id: str
    seconds: float


def upload_shard(client: BatchClient, folder: RunFolder, owner: TaskIdentity, piece: Piece) -> Uploaded:
    """
    Upload a shard under a name that tells whose it is.

    :param client: The service.
    :param folder: The run's files.
    :param owner: The task instance.
    :param piece: The piece.
    """
    began = time.monotonic()
    path = paths.as_path(folder.shard(piece))
    name = f"{owner.key()}-{piece.name}.jsonl"
    file = client.upload_file(Upload(lambda: paths.open_input(path), piece.bytes, name))
    return Uploaded(file.id, time.monotonic() - began)


class Uploads:
    """
    Uploads a few shards side by side, ahead of the batches that are created one after the other.

    An upload that is under way when the block ends is waited for: see :meth:`left_over`. After an error its file is found
    by name at the end of the run.

    :param upload: Uploads a piece.
    :param options: How many at a time; with one, each is uploaded when it is asked for.
    """

    def __init__(self, upload: Callable[[Piece], Uploaded], options: RunOptions) -> None:
        self._upload = upload
        self._pool = ThreadPoolExecutor(options.uploads_at_a_time) if options.uploads_at_a_time > 1 else None
        self._under_way: dict[int, tuple[Piece, Future[Uploaded]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def start(self, pieces: Iterable[Piece]) -> None:
        """
        Begin to upload pieces that will be sent now.

        :param pieces: The pieces; those that are uploaded already are passed over.
        """
        if self._pool is None:
            return
        for piece in pieces:
            if not piece.is_at_least("uploaded"):
                self._under_way[piece.number] = piece, self._pool.submit(self._upload, piece)

    def take(self, piece: Piece) -> Uploaded:
        """
        Wait for a piece's upload, or upload it.

        :param piece: The piece.
        """
        _, future = self._under_way.pop(piece.number, (piece, None))
        return self._upload(piece) if future is None else future.result()

    def left_over(self) -> Iterator[tuple[Piece, Uploaded]]:
        """After the block: pieces whose upload nobody asked for, because their batches may not be created yet."""
        for piece, future in self._under_way.values():
            if not future.cancelled() and future.exception() is None:
                yield piece, future.result()
