"""Sending one piece: upload its shard, create its batch once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import TaskIdentity, metadata_with_key
from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.shards import RunFolder
from airflow_batch_provider.submission import Submission


def upload_shard(client: BatchClient, folder: RunFolder, owner: TaskIdentity, piece: Piece) -> str:
    """
    Upload a shard under a name that tells whose it is.

    :param client: The service.
    :param folder: The run's files.
    :param owner: The task instance.
    :param piece: The piece.
    :returns: The file's id.
    """
    path = paths.as_path(folder.shard(piece))
    name = f"{owner.key()}-{piece.name}.jsonl"
    return client.upload_file(Upload(lambda: paths.open_input(path), piece.bytes, name)).id


class Uploads:
    """
    Uploads a few shards side by side, ahead of the batches that are created one after the other.

    An upload that is under way when the block ends is waited for: see :meth:`left_over`. After an error its file is found
    by name at the end of the run.

    :param upload: Uploads a piece, returns the file's id.
    :param options: How many at a time; with one, each is uploaded when it is asked for.
    """

    def __init__(self, upload: Callable[[Piece], str], options: RunOptions) -> None:
        self._upload = upload
        self._pool = ThreadPoolExecutor(options.uploads_at_a_time) if options.uploads_at_a_time > 1 else None
        self._under_way: dict[int, tuple[Piece, Future[str]]] = {}

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

    def file_id_of(self, piece: Piece) -> str:
        """
        Wait for a piece's upload, or upload it.

        :param piece: The piece.
        """
        _, future = self._under_way.pop(piece.number, (piece, None))
        return self._upload(piece) if future is None else future.result()

    def left_over(self) -> Iterator[tuple[Piece, str]]:
        """After the block: pieces whose upload nobody asked for, because their batches may not be created yet."""
        for piece, future in self._under_way.values():
            if not future.cancelled() and future.exception() is None:
                yield piece, future.result()


def create_once(
    client: BatchClient,
    options: RunOptions,
    owner: TaskIdentity,
    journal: Journal,
    piece: Piece,
    save: Callable[[], None],
    clock: Callable[[], float],
) -> Batch:
    """
    Create a piece's batch, or take that of an earlier try.

    :param client: The service.
    :param options: What the run does.
    :param owner: The task instance.
    :param journal: The run.
    :param piece: The piece, uploaded.
    :param save: Saves the journal.
    :param clock: Epoch seconds.
    """
    key = owner.key(piece.round, piece.number, piece.input_file_id)
    return Submission(
        client=client,
        memory=_PieceMemory(piece, save),
        body={
            "input_file_id": piece.input_file_id,
            "endpoint": piece.endpoint,
            "completion_window": options.completion_window,
            "metadata": metadata_with_key(options.metadata, owner, key),
        },
        key=key,
        # The journal notes the intent before the call: where there is none, nothing was created.
        is_first_try=True,
        earliest=journal.started_at,
        on_unknown=options.on_unknown_submission,
        clock=clock,
        keeps_ended=True,
    ).submit()


class _PieceMemory:
    """The submission's memory: a field of the piece, saved with the journal."""

    def __init__(self, piece: Piece, save: Callable[[], None]) -> None:
        self._piece = piece
        self._save = save

    def load(self) -> Mapping[str, Any] | None:
        return self._piece.submission

    def save(self, record: Mapping[str, Any]) -> None:
        self._piece.submission = dict(record)
        self._save()
