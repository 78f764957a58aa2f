"""The end of a run: results in input order, what failed, the summary, and nothing left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Any

from airflow_batch_provider.assembly import write_failures, write_results
from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import delete_files
from airflow_batch_provider.core.journal import Journal, Piece, total
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.core.outcomes import Outcome
from airflow_batch_provider.core.summary import summary_of
from airflow_batch_provider.exceptions import ApiError, NotFoundError
from airflow_batch_provider.storage.shards import RunFolder
from airflow_batch_provider.submission import find_batches

log = logging.getLogger(__name__)

MAX_SEARCHED_FILES = 1000


def finish(
    client: BatchClient,
    folder: RunFolder,
    options: RunOptions,
    journal: Journal,
    save: Callable[[], None],
    check: Callable[[], None],
    now: float,
) -> dict[str, Any]:
    """
    Write everything, then tidy up. May be broken off anywhere and done again.

    Right before each file appears or goes this try looks whether the run still is its own: a worker thought dead must
    not put its rows over those of its successor.

    :param client: The service.
    :param folder: The run's files.
    :param options: What the run does.
    :param journal: The run, all pieces landed; gets its summary.
    :param save: Saves the journal.
    :param check: Raises when another try owns the run now.
    :param now: Epoch seconds.
    :returns: The summary.
    """
    results, failures = folder.path("results.jsonl"), folder.path("failures.jsonl")
    rows = write_results(folder, journal.pieces, results, last_check=check)
    counts, _ = total(journal.pieces)
    if not rows == sum(counts.values()) == journal.requests:
        raise RuntimeError(
            f"{rows} rows and {sum(counts.values())} outcomes for {journal.requests} requests. Nothing was deleted. "
            "Please report this as a bug."
        )
    failed = rows - counts[Outcome.SUCCEEDED]
    if failed:
        write_failures(folder, journal.pieces, results, failures, last_check=check)
    else:
        check()
        folder.remove([failures])
    summary = summary_of(journal, results, failures if failed else None, now)
    if options.delete_remote_files:
        delete_remote(client, journal, save)
    folder.save_json(folder.summary, summary, last_check=check)
    journal.summary = summary
    save()
    if not options.keep_run_files:
        remove_run_files(folder, journal)
    return summary


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
        except ApiError as error:
            which = piece.batch_id or "that an earlier plan may have"
            log.warning("Batch %s could not be cancelled, so what it does is billed: %s", which, error)
        save()


def _is_stopped(client: BatchClient, piece: Piece) -> bool:
    """Stop the batch of an abandoned piece, if there is one; say whether that is sure."""
    if piece.batch_id is None:
        record = piece.submission or {"was_refused": True}
        if record.get("was_refused"):
            return True
        search = find_batches(client, record["key"], record["saved_at"])
        if not search.found:
            return search.is_conclusive
        piece.submission = {**record, "batch_id": search.found[0].id}
    try:
        batch = client.get_batch(str(piece.batch_id))
    except NotFoundError:
        return True
    if batch.status.may_be_cancelled:
        client.cancel_batch(batch.id)
        log.warning("Batch %s of the earlier plan was cancelled; what it has done is billed.", batch.id)
    return True


def delete_remote(client: BatchClient, journal: Journal, save: Callable[[], None]) -> None:
    """
    Delete the run's files at the service.

    :param client: The service.
    :param journal: The run, all pieces landed or abandoned.
    :param save: Saves the journal.
    """
    for piece in [*journal.abandoned, *journal.pieces]:
        if piece.is_at_least("cleaned"):
            continue
        try:
            file_ids = _files_of(client, piece)
            if file_ids is None:
                log.warning("Batch %s of the earlier plan has not ended; its files stay.", piece.batch_id)
                continue
            delete_files(client, file_ids)
        except ApiError as error:
            # The results are safe; files left at the service are untidy, not wrong.
            log.warning("Files of shard %s could not be deleted at the service: %s", piece.name, error)
            continue
        piece.step = "cleaned"
    save()
    _delete_lost_uploads(client, journal)


def _files_of(client: BatchClient, piece: Piece) -> list[str] | None:
    """The piece's files at the service, or None while its batch may use them or bring more."""
    if piece.is_at_least("landed"):
        return piece.file_ids
    if piece.batch_id is None:
        return piece.file_ids if piece.cancelled_at is not None else None
    try:
        batch = client.get_batch(piece.batch_id)
    except NotFoundError:
        return piece.file_ids
    return [*piece.file_ids, *batch.file_ids] if batch.status.has_ended else None


def _delete_lost_uploads(client: BatchClient, journal: Journal) -> None:
    """Uploads whose answer never came are known by their names only."""
    mark = f"{journal.owner_identity().key()}-"
    in_use = {file_id for piece in journal.abandoned if not piece.is_at_least("cleaned") for file_id in piece.file_ids}
    try:
        newest = islice(client.list_files(purpose="batch"), MAX_SEARCHED_FILES)
        # All are found before the first is deleted: it may be the cursor of the next page.
        lost = [file.id for file in newest if (file.filename or "").startswith(mark) and file.id not in in_use]
        delete_files(client, lost)
    except ApiError as error:
        log.info("Nobody looked for lost uploads at the service: %s", error)


def remove_run_files(folder: RunFolder, journal: Journal) -> None:
    """
    Remove shards and rows, and what killed workers left unfinished.

    :param folder: The run's files.
    :param journal: The run, finished.
    """
    folder.remove_unfinished()
    folder.remove_landed()
    for piece in journal.pieces:
        folder.remove(folder.files_of(piece))
    folder.remove_empty_folders()
