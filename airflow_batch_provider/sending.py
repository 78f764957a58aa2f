"""Sending pieces: each batch created once, and what the service does not take now sent later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.admission import Admission
from airflow_batch_provider.core.batches import Batch, seen_of
from airflow_batch_provider.core.identity import TaskIdentity, metadata_with_key
from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.judging import failed_error
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.core.summary import sent_line
from airflow_batch_provider.exceptions import RateLimitError, SupersededError
from airflow_batch_provider.storage.shards import RunFolder
from airflow_batch_provider.submission import Submission
from airflow_batch_provider.uploading import Uploaded, Uploads, upload_shard

log = logging.getLogger(__name__)

_ALONE = (
    " No other batch of this run fills the queue: if nobody else's does, the shard is larger than all of it, and waiting "
    'does not help. Then make the shards smaller: "Tokens per batch" in the connection, or `limits`, and '
    'on_changed_input="restart".'
)


class Sending:
    """
    Sends what the service takes now, and says when to try the rest.

    :param client: The service.
    :param folder: The run's files.
    :param options: What the run does.
    :param owner: The task instance.
    :param save: Saves a journal.
    :param clock: Epoch seconds.
    """

    def __init__(
        self,
        client: BatchClient,
        folder: RunFolder,
        options: RunOptions,
        owner: TaskIdentity,
        save: Callable[[Journal], None],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._folder = folder
        self._options = options
        self._owner = owner
        self._save = save
        self._clock = clock
        self._admission = Admission()
        self._upload = partial(upload_shard, client, folder, owner)

    def send(self, journal: Journal, pieces: list[Piece]) -> list[Batch]:
        """
        Send as many of a round's unsent pieces as may be sent now.

        :param journal: The run.
        :param pieces: All pieces of the round.
        :returns: Their batches.
        """
        unsent = [piece for piece in pieces if not piece.is_at_least("created")]
        self._admission.begin()
        uploads = Uploads(self._upload, self._options)
        try:
            with uploads:
                uploads.start(unsent[: self._room(pieces)])
                sent = [self._send(journal, piece, uploads) for piece in unsent if self._room(pieces)]
        except Exception:
            with suppress(Exception):  # the first error is the one to tell
                self._note_left_over(journal, uploads)
            raise
        self._note_left_over(journal, uploads)
        return [batch for batch in sent if batch is not None]

    def put_back(self, journal: Journal, piece: Piece, batch: Batch, *, others_run: bool) -> None:
        """
        Note that the service's queue was full: the piece waits for a place.

        :param journal: The run.
        :param piece: The piece.
        :param batch: Its batch, refused.
        :param others_run: True when other batches of the run fill the queue.
        """
        piece.submission, piece.step, piece.seen, piece.cancelled_at = None, "uploaded", "", None
        self._admission.queue_was_full(self._clock())
        hint = "" if others_run else _ALONE
        log.warning("%s The shard waits and is sent again.%s", failed_error(batch), hint)
        self._save(journal)

    def try_again_at(self, *, others_run: bool) -> float | None:
        """
        When to try again, epoch seconds; None when the end of another batch comes first.

        :param others_run: True when batches of the run are waited for.
        """
        return self._admission.try_again_at(self._clock(), others_run=others_run)

    def _room(self, pieces: list[Piece]) -> int:
        """How many more batches may be created now."""
        if not self._admission.is_open(self._clock()):
            return 0
        active = sum(piece.is_at_least("created") and not piece.is_at_least("landed") for piece in pieces)
        limit = self._options.max_active_batches
        return len(pieces) if limit is None else max(0, limit - active)

    def _send(self, journal: Journal, piece: Piece, uploads: Uploads) -> Batch | None:
        save = partial(self._save, journal)
        seconds = None
        try:
            if not piece.is_at_least("uploaded"):
                uploaded = uploads.take(piece)
                seconds = uploaded.seconds
                self._note_uploaded(journal, piece, uploaded)
            batch = create_once(self._client, self._options, self._owner, journal, piece, save, self._clock)
        except RateLimitError as error:
            self._admission.wants_fewer_calls(self._clock(), error.retry_after)
            log.warning("%s The shard waits and is sent again.", error)
            return None
        except SupersededError:
            self._stop_if_unwanted(piece)
            raise
        piece.seen, piece.changed_at = seen_of(batch), self._clock()
        # An earlier try may have made it, hours ago.
        piece.created_at = min(piece.changed_at, batch.created_at.timestamp() if batch.created_at else piece.changed_at)
        self._admission.took_one()
        piece.advance_to("created")
        save()
        log.info(sent_line(journal, piece, seconds))
        return batch

    def _stop_if_unwanted(self, piece: Piece) -> None:
        """Whoever has begun anew does not know of the batch that this try has just made: nobody would read it."""
        with suppress(Exception):
            journal = self._folder.load_json(self._folder.journal) or {}
            wanted = {file_id for each in journal.get("pieces", []) for file_id in each["file_ids"]}
            if piece.batch_id is not None and piece.input_file_id not in wanted:
                self._client.cancel_batch(piece.batch_id)
                log.warning(
                    "Batch %s was made for a plan that another try has given up; it was cancelled.", piece.batch_id
                )

    def _note_left_over(self, journal: Journal, uploads: Uploads) -> None:
        for piece, uploaded in uploads.left_over():
            self._note_uploaded(journal, piece, uploaded)

    def _note_uploaded(self, journal: Journal, piece: Piece, uploaded: Uploaded) -> None:
        piece.input_file_id = uploaded.file_id
        piece.file_ids.append(uploaded.file_id)
        piece.advance_to("uploaded")
        self._save(journal)


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
