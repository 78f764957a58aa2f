"""What an earlier plan of a run has left at the service: its batches are stopped, its files deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import delete_files
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.exceptions import ApiError, NotFoundError
from airflow_batch_provider.submission import find_batches

log = logging.getLogger(__name__)


def cancel_abandoned(client: BatchClient, journal: Journal, save: Callable[[], None], now: float) -> None:
    """
    Cancel batches of an earlier plan: nobody will read what they bring, and they cost.

    What could not be cancelled is tried again the next time.

    :param client: The service.
    :param journal: The run.
    :param save: Saves the journal.
    :param now: Epoch seconds.
    """
    for piece in journal.abandoned:
        if piece.is_at_least("landed") or piece.cancelled_at is not None:
            continue
        try:
            if _is_stopped(client, piece):
                piece.cancelled_at = now
            else:
                log.warning(
                    "Nobody can say whether shard %s of the earlier plan has a batch; if so, it is billed. Look at the "
                    "service's console.", piece.name,
                )  # fmt: skip
        except ApiError as error:
            log.warning(
                "What shard %s of the earlier plan has at the service (batch %s) could not be cancelled; if it runs it is "
                "billed: %s", piece.name, piece.batch_id or "unknown", error,
            )  # fmt: skip
        save()


def delete_abandoned(client: BatchClient, journal: Journal, save: Callable[[], None]) -> None:
    """
    Delete files of an earlier plan, and forget its pieces. Files that a batch may still use, or bring, stay.

    :param client: The service.
    :param journal: The run.
    :param save: Saves the journal.
    """
    for piece in list(journal.abandoned):
        try:
            file_ids = _files_of(client, piece)
            if file_ids is None:
                log.warning(
                    "Batch %s of the earlier plan has not ended; its files stay at the service.",
                    piece.batch_id or "unknown",
                )
                continue
            delete_files(client, file_ids)
        except ApiError as error:
            log.warning("Files of the earlier plan could not be deleted at the service: %s", error)
            continue
        journal.abandoned.remove(piece)
        save()


def _is_stopped(client: BatchClient, piece: Piece) -> bool:
    """Stop what runs of a piece; say whether nothing else can."""
    batches, are_all = _batches_of(client, piece)
    for batch in batches:
        if batch.status.may_be_cancelled:
            client.cancel_batch(batch.id)
            log.warning("Batch %s of the earlier plan was cancelled; what it has done is billed.", batch.id)
    return are_all


def _batches_of(client: BatchClient, piece: Piece) -> tuple[list[Batch], bool]:
    """A piece's batches, and whether these are surely all: where no answer came they are looked for by their key."""
    record = piece.submission or {}
    if piece.batch_id is not None:
        try:
            return [client.get_batch(piece.batch_id)], True
        except NotFoundError:
            return [], True
    if "key" not in record or record.get("was_refused"):
        return [], True
    search = find_batches(client, record["key"], record["saved_at"])
    return list(search.found), bool(search.found) or search.is_conclusive


def _files_of(client: BatchClient, piece: Piece) -> list[str] | None:
    """A piece's files at the service, or None while a batch may use them or bring more."""
    if piece.is_at_least("landed"):
        return piece.file_ids
    batches, are_all = _batches_of(client, piece)
    if not are_all or not all(batch.status.has_ended for batch in batches):
        return None
    return [*piece.file_ids, *(file_id for batch in batches for file_id in batch.file_ids)]
