"""The end of a run: results in input order, what failed, the summary, and nothing left behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Any

from airflow_batch_provider.assembly import write_failures, write_results
from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import delete_files
from airflow_batch_provider.core.journal import Journal, total
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.core.outcomes import Outcome
from airflow_batch_provider.core.summary import summary_of
from airflow_batch_provider.exceptions import ApiError
from airflow_batch_provider.storage.shards import RunFolder

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


def delete_remote(client: BatchClient, journal: Journal, save: Callable[[], None]) -> None:
    """
    Delete the run's files at the service.

    :param client: The service.
    :param journal: The run, all pieces landed.
    :param save: Saves the journal.
    """
    for piece in journal.pieces:
        if piece.is_at_least("cleaned"):
            continue
        try:
            delete_files(client, piece.file_ids)
        except ApiError as error:
            # The results are safe; files left at the service are untidy, not wrong.
            log.warning("Files of shard %s could not be deleted at the service: %s", piece.name, error)
            continue
        piece.advance_to("cleaned")
    save()
    _delete_lost_uploads(client, journal)


def _delete_lost_uploads(client: BatchClient, journal: Journal) -> None:
    """Uploads whose answer never came are known by their names only."""
    mark = f"{journal.owner_identity().key()}-"
    in_use = {file_id for piece in journal.abandoned for file_id in piece.file_ids}
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
