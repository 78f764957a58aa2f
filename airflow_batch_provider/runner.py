"""
``BatchRun``: a whole run, as steps over a journal.

``advance(now)`` does everything that can be done now and says what it waits for. A crash, a retry, a clear, a second
triggerer: all are just another ``advance`` over the same journal; there is no second code path for recovery. Knows no
Airflow: client, journal and clock are handed in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_batch_provider import landing, planning
from airflow_batch_provider.assembly import open_requests, write_failures, write_results
from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.collection import delete_files
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import TaskIdentity, metadata_with_key
from airflow_batch_provider.core.journal import Journal, Piece, total
from airflow_batch_provider.core.judging import failed_error
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.outcomes import Outcome
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.summary import round_line, summary_of
from airflow_batch_provider.exceptions import (
    ApiError,
    ForeignJournalError,
    InputError,
    RateLimitError,
    StaleJournalError,
    SupersededError,
)
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.shards import RunFolder
from airflow_batch_provider.submission import OnUnknownSubmission, Submission

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 60.0
# Services promise ten minutes for a cancel; OGX may stay in "cancelling" for ever.
CANCELLING_SECONDS = 1800.0


@dataclass(frozen=True)
class RunOptions:
    """
    What a run does; every field has the operator's default.

    :param max_rounds: Passes over open requests, the first included.
    :param max_active_batches: Batches at a time, or None.
    """

    input: str
    output: str
    endpoint: str | None = None
    limits: BatchLimits = field(default_factory=BatchLimits)
    completion_window: str = "24h"
    metadata: Mapping[str, str] = field(default_factory=dict)
    max_rounds: int = 2
    max_active_batches: int | None = None
    stall_after: float | None = None
    on_changed_input: Literal["fail", "restart"] = "fail"
    if_finished: Literal["reuse", "restart"] = "reuse"
    on_unknown_submission: OnUnknownSubmission = "fail"
    delete_remote_files: bool = True
    keep_run_files: bool = False


@dataclass(frozen=True)
class Waiting:
    """
    Nothing more can be done now.

    :param batch_ids: Batches whose end lets the run go on.
    :param look_again_at: Epoch seconds at which it can go on in any case, or None.
    :param for_any: True when one ended batch is enough (others wait for its place).
    """

    batch_ids: tuple[str, ...]
    look_again_at: float | None
    for_any: bool


@dataclass(frozen=True)
class Finished:
    """
    The run has ended.

    :param summary: What XCom gets.
    """

    summary: dict[str, Any]


class BatchRun:
    """
    One run.

    :param client: The service.
    :param options: What to do.
    :param owner: The task instance.
    :param attempt: Mark of this try; a newer one makes it stop.
    :param is_new_attempt: True at the start of a try, when the input is compared; False when a deferred try resumes.
    :param clock: Epoch seconds.
    """

    def __init__(
        self,
        client: BatchClient,
        options: RunOptions,
        *,
        owner: TaskIdentity,
        attempt: str,
        is_new_attempt: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = RunFolder(options.output)
        self._client = client
        self._options = options
        self._owner = owner
        self._attempt = attempt
        self._is_new_attempt = is_new_attempt
        self._clock = clock
        self._refused_until = 0.0
        self._deadline_at = 0.0

    @property
    def deadline_at(self) -> float:
        """Until when this try waits, epoch seconds, as noted in the journal."""
        data = self.folder.load_json(self.folder.journal) or {}
        return float(data.get("deadline_at") or self._clock())

    def set_deadline(self, deadline_at: float) -> None:
        """
        Say until when this try waits; noted in the journal so that a resumed try knows.

        :param deadline_at: Epoch seconds.
        """
        self._deadline_at = deadline_at

    def advance(self) -> Waiting | Finished:
        """
        Do everything that can be done now.

        :raises InputError: The input is wrong; nothing was sent.
        :raises JournalError: The saved progress does not fit.
        :raises ApiError: The service does not do what was asked; the journal knows how far the run is.
        """
        journal = self._open()
        if journal.summary is not None:
            log.info("The run has finished before; its results are reused, nothing is sent.")
            return Finished(journal.summary)
        while True:
            number = journal.round
            active = self._work_on(journal, journal.of_round(number))
            if active:
                return self._waiting(active)
            log.info(round_line(journal, number))
            self._refuse_if_all_were_refused(journal)
            if not self._begin_round(journal, number + 1):
                return Finished(self._finish(journal))

    # The journal

    def _open(self) -> Journal:
        data = self.folder.load_json(self.folder.journal)
        if data is None:
            return self._plan()
        journal = Journal.from_dict(data, self.folder.journal)
        if journal.owner_identity() != self._owner:
            raise ForeignJournalError(
                f"{self.folder.journal} belongs to {journal.owner_identity()}; this task is {self._owner}. Two tasks must "
                "not share an output folder."
            )
        if journal.attempt != self._attempt and not self._is_new_attempt:
            raise SupersededError(_superseded(self.folder.journal))
        if journal.summary is not None:
            return self._plan() if self._options.if_finished == "restart" and self._is_new_attempt else journal
        if self._is_new_attempt and self._has_changed(journal):
            if self._options.on_changed_input == "restart":
                log.warning(
                    "The input has changed since the run was planned; it begins anew. Batches that run are left alone."
                )
                return self._plan()
            raise StaleJournalError(
                f"The input or its parameters have changed since {self._owner} planned its run in {self.folder.output}. "
                'Nothing was sent. To run with the new input use on_changed_input="restart" (batches of the earlier plan '
                "are billed all the same), or put the earlier input back to finish it."
            )
        if self._is_new_attempt:
            log.info("The run goes on where an earlier try left it.")
            journal.attempt, journal.deadline_at = self._attempt, self._deadline_at
            self._save(journal, take_over=True)
            self._is_new_attempt = False
        return journal

    def _has_changed(self, journal: Journal) -> bool:
        try:
            return self._fingerprint(sources.find_files(self._options.input)) != journal.fingerprint
        except InputError:
            log.warning("The input is gone; the run goes on with its own copy.")
            return False

    def _fingerprint(self, files: list[Any]) -> str:
        limits = self._options.limits
        return sources.fingerprint(files, [self._options.endpoint, limits.max_requests, limits.effective_bytes])

    def _plan(self) -> Journal:
        options = self._options
        files = sources.find_files(options.input)
        fingerprint = self._fingerprint(files)
        pieces = planning.plan_input(files, self.folder, options.limits, options.endpoint)
        journal = Journal(
            owner=vars_of(self._owner),
            fingerprint=fingerprint,
            started_at=self._clock(),
            attempt=self._attempt,
            deadline_at=self._deadline_at,
            requests=sum(piece.requests for piece in pieces),
            bytes=sum(piece.bytes for piece in pieces),
            pieces=pieces,
        )
        self._save(journal, take_over=True)
        self._is_new_attempt = False
        endpoints = ", ".join(sorted({piece.endpoint for piece in pieces}))
        log.info(
            "Plan: %s requests (%.1f MB) in %d shards for %s. No problems found.",
            f"{journal.requests:,}", journal.bytes / 1e6, len(pieces), endpoints,
        )  # fmt: skip
        return journal

    def _save(self, journal: Journal, *, take_over: bool = False) -> None:
        if not take_over:
            found = self.folder.load_json(self.folder.journal)
            if found is None or found.get("attempt") != self._attempt:
                raise SupersededError(_superseded(self.folder.journal))
        self.folder.save_json(self.folder.journal, journal.to_dict())

    # A round

    def _work_on(self, journal: Journal, pieces: list[Piece]) -> list[Piece]:
        """Take each piece as far as it gets; return those whose batch is awaited."""
        for piece in pieces:
            if piece.batch_id is not None and not piece.is_at_least("landed"):
                self._collect(journal, piece)
        for piece in pieces:
            if not piece.is_at_least("created") and self._has_room(pieces):
                self._send(journal, piece)
        return [piece for piece in pieces if not piece.is_at_least("landed")]

    def _has_room(self, pieces: list[Piece]) -> bool:
        if self._clock() < self._refused_until:
            return False
        active = sum(piece.is_at_least("created") and not piece.is_at_least("landed") for piece in pieces)
        limit = self._options.max_active_batches
        return limit is None or active < limit

    def _send(self, journal: Journal, piece: Piece) -> None:
        if not piece.is_at_least("uploaded"):
            piece.input_file_id = self._upload(piece)
            piece.file_ids.append(piece.input_file_id)
            piece.advance_to("uploaded")
            self._save(journal)
        try:
            batch = self._submission(journal, piece).submit()
        except RateLimitError as error:
            self._refused_until = self._clock() + (error.retry_after or LOOK_AGAIN_SECONDS)
            log.warning("%s The shard waits and is sent again.", error)
            return
        piece.changed_at = self._clock()
        piece.advance_to("created")
        self._save(journal)
        shards = len(journal.of_round(piece.round))
        log.info(
            "Shard %d/%d: file %s (%.1f MB), batch %s.",
            piece.number + 1,
            shards,
            piece.input_file_id,
            piece.bytes / 1e6,
            batch.id,
        )

    def _upload(self, piece: Piece) -> str:
        path = paths.as_path(self.folder.shard(piece))
        key = self._owner.key(piece.round, piece.number)
        name = f"{key}-{piece.name}.jsonl"
        return self._client.upload_file(Upload(lambda: paths.open_input(path), piece.bytes, name)).id

    def _submission(self, journal: Journal, piece: Piece) -> Submission:
        key = self._owner.key(piece.round, piece.number, piece.input_file_id)
        body = {
            "input_file_id": piece.input_file_id,
            "endpoint": piece.endpoint,
            "completion_window": self._options.completion_window,
            "metadata": metadata_with_key(self._options.metadata, self._owner, key),
        }
        return Submission(
            client=self._client,
            memory=_PieceMemory(piece, lambda: self._save(journal)),
            body=body,
            key=key,
            is_first_try=True,
            earliest=journal.started_at,
            on_unknown=self._options.on_unknown_submission,
            clock=self._clock,
        )

    def _collect(self, journal: Journal, piece: Piece) -> None:
        """Look at a piece's batch; land it when it has ended."""
        batch = self._client.get_batch(str(piece.batch_id))
        if not batch.status.has_ended and not self._has_given_up(journal, piece, batch):
            return
        if landing.was_refused(batch) and failed_error(batch).retryable:
            self._put_back(journal, piece, batch)
            return
        can_go_again = piece.round + 1 < self._options.max_rounds
        landing.land(self._client, self.folder, piece, batch, can_go_again=can_go_again)
        piece.file_ids = list(dict.fromkeys([*piece.file_ids, *batch.file_ids]))
        piece.advance_to("landed")
        self._save(journal)

    def _has_given_up(self, journal: Journal, piece: Piece, batch: Batch) -> bool:
        """A batch that stands still is cancelled; one that does not even end then is left behind."""
        now = self._clock()
        seen = f"{batch.status.value} {batch.counts.done if batch.counts else 0}"
        if seen != piece.seen:
            piece.seen, piece.changed_at = seen, now
            self._save(journal)
            return False
        stall_after = self._options.stall_after
        if stall_after is None or now - piece.changed_at < stall_after:
            return False
        if piece.cancelled_at is None:
            log.warning(
                "Batch %s has not moved for %.0f s; it is cancelled, and what is open goes again.",
                batch.id,
                stall_after,
            )
            self._client.cancel_batch(batch.id)
            piece.cancelled_at = piece.changed_at = now
            self._save(journal)
            return False
        if now - piece.cancelled_at < CANCELLING_SECONDS:
            return False
        log.warning(
            "Batch %s does not end although it was cancelled; it is left behind, and its requests go again.", batch.id
        )
        return True

    def _put_back(self, journal: Journal, piece: Piece, batch: Batch) -> None:
        """The service's queue was full: the shard waits for a place."""
        piece.submission, piece.step, piece.seen = None, "uploaded", ""
        self._refused_until = self._clock() + LOOK_AGAIN_SECONDS
        log.warning("%s The shard waits and is sent again.", failed_error(batch))
        self._save(journal)

    def _waiting(self, active: list[Piece]) -> Waiting:
        ids = tuple(str(piece.batch_id) for piece in active if piece.is_at_least("created"))
        unsent = any(not piece.is_at_least("created") for piece in active)
        moments = [max(self._refused_until, self._clock() + 1)] if unsent and not ids else []
        if self._options.stall_after is not None:
            moments += [piece.changed_at + self._options.stall_after for piece in active if piece.cancelled_at is None]
            moments += [piece.cancelled_at + CANCELLING_SECONDS for piece in active if piece.cancelled_at is not None]
        return Waiting(ids, min(moments, default=None), for_any=unsent)

    def _begin_round(self, journal: Journal, number: int) -> bool:
        pieces = journal.of_round(number - 1)
        going_again = sum(piece.open for piece in pieces)
        if not going_again:
            return False
        planned = planning.plan_round(open_requests(self.folder, pieces), self.folder, self._options.limits, number)
        journal.pieces.extend(planned)
        self._save(journal)
        log.info("Round %d: %s requests again.", number, f"{going_again:,}")
        return True

    def _refuse_if_all_were_refused(self, journal: Journal) -> None:
        if all(
            piece.status == BatchStatus.FAILED and not piece.counts.get(Outcome.SUCCEEDED) for piece in journal.pieces
        ):
            raise failed_error(self._client.get_batch(str(journal.pieces[0].batch_id)))

    # The end

    def _finish(self, journal: Journal) -> dict[str, Any]:
        folder, options = self.folder, self._options
        results, failures = folder.path("results.jsonl"), folder.path("failures.jsonl")
        rows = write_results(folder, journal.pieces, results)
        counts, _ = total(journal.pieces)
        if not rows == sum(counts.values()) == journal.requests:
            raise RuntimeError(
                f"{rows} rows and {sum(counts.values())} outcomes for {journal.requests} requests. Nothing was deleted. "
                "Please report this as a bug."
            )
        failed = write_failures(folder, journal.pieces, results, failures) if rows > counts[Outcome.SUCCEEDED] else 0
        if not failed:
            folder.remove([failures])
        summary = summary_of(journal, results, failures if failed else None, self._clock())
        self._delete_remote(journal)
        folder.save_json(folder.path("summary.json"), summary)
        journal.summary = summary
        self._save(journal)
        if not options.keep_run_files:
            self._remove_run_files(journal)
        return summary

    def _delete_remote(self, journal: Journal) -> None:
        if not self._options.delete_remote_files:
            return
        for piece in journal.pieces:
            if not piece.is_at_least("cleaned"):
                try:
                    delete_files(self._client, piece.file_ids)
                except ApiError as error:
                    # The results are safe; files left at the service are untidy, not wrong.
                    log.warning("Files of shard %s could not be deleted at the service: %s", piece.name, error)
                    continue
                piece.advance_to("cleaned")
        self._save(journal)

    def _remove_run_files(self, journal: Journal) -> None:
        for piece in journal.pieces:
            shard, landed = self.folder.shard(piece), self.folder.landed(piece)
            self.folder.remove([shard, f"{shard}.positions", landed, f"{landed}.positions"])


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


def vars_of(owner: TaskIdentity) -> dict[str, Any]:
    """
    An identity as plain JSON.

    :param owner: The task instance.
    """
    return {"dag_id": owner.dag_id, "task_id": owner.task_id, "run_id": owner.run_id, "map_index": owner.map_index}


def _superseded(path: str) -> str:
    return f"Another try of this task has taken over the run in {path}; this one stops. Nothing is lost."
