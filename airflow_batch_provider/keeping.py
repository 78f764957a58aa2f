"""The journal of a run at work: found or begun, compared, and saved only by the try that owns it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider import planning
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.core.summary import plan_line
from airflow_batch_provider.exceptions import (
    ForeignJournalError,
    InputError,
    JournalUnreadableError,
    StaleJournalError,
    SupersededError,
)
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.shards import RunFolder

log = logging.getLogger(__name__)


class JournalKeeper:
    """
    Opens and saves the journal of one run.

    :param folder: The run's files.
    :param options: What the run does.
    :param owner: The task instance.
    :param attempt: Mark of this try.
    :param is_new_attempt: True at the start of a try, False when a deferred try resumes.
    :param clock: Epoch seconds.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: RunOptions,
        *,
        owner: TaskIdentity,
        attempt: str,
        is_new_attempt: bool,
        clock: Callable[[], float],
    ) -> None:
        self.deadline_at = 0.0
        self._folder = folder
        self._options = options
        self._owner = owner
        self._attempt = attempt
        self._is_new_attempt = is_new_attempt
        self._clock = clock
        # Whose mark the journal bore when this try looked last; another one means that another try has it now.
        self._mark: str | None = None

    def saved_deadline(self) -> float:
        """Until when this try waits, epoch seconds, as it noted when it began."""
        data = self._folder.load_json(self._folder.journal) or {}
        return float(data.get("deadline_at") or self._clock())

    def open(self) -> Journal:
        """
        Find the journal, or plan the run and begin one.

        :raises JournalError: It does not fit this task, its input, or this try.
        :raises InputError: The input is wrong; nothing was sent.
        """
        data = self._folder.load_json(self._folder.journal)
        self._mark = None if data is None else data.get("attempt")
        if data is None and not self._is_new_attempt:
            raise JournalUnreadableError(
                f"{self._folder.journal} was there when this run began to wait, and is gone. It told of batches that are paid "
                "for, so nothing was started. Put it back if you can; without it a cleared task begins, and pays, anew.",
                retryable=False,
            )
        if data is None:
            return self._plan()
        journal = Journal.from_dict(data, self._folder.journal)
        self._check_owner(journal)
        if not self._is_new_attempt:
            return journal
        if journal.summary is not None:
            return self._after_finish(journal)
        if journal.was_refused:
            log.info("The service refused every batch of the run before. It brought no rows, so it begins anew.")
            return self._anew(journal)
        if self._has_changed(journal):
            return self._with_changed_input(journal)
        log.info("The run goes on where an earlier try left it.")
        self._take_over(journal)
        return journal

    def save(self, journal: Journal) -> None:
        """
        Save, unless a newer try has taken over.

        :param journal: The journal.
        :raises SupersededError: Another try owns the run now.
        """
        # The look at the mark comes last: what another try writes after it would be overwritten. Also after planning,
        # which takes its time: another try may have begun the run meanwhile.
        self._folder.save_json(self._folder.journal, journal.to_dict(), last_check=self.check_mark)

    def check_mark(self) -> None:
        """
        Look whether the journal is as this try left it.

        :raises SupersededError: Another try owns the run now.
        """
        found = self._folder.load_json(self._folder.journal)
        if (None if found is None else found.get("attempt")) != self._mark:
            raise self._superseded()

    def _check_owner(self, journal: Journal) -> None:
        if journal.owner_identity() != self._owner:
            raise ForeignJournalError(
                f"{self._folder.journal} belongs to {journal.owner_identity()}; this task is {self._owner}. Two tasks must "
                "not share an output folder."
            )
        if journal.attempt != self._attempt and not self._is_new_attempt:
            raise self._superseded()

    def _superseded(self) -> SupersededError:
        return SupersededError(
            f"Another try of this task has taken over the run in {self._folder.journal}; this one stops. Nothing is lost."
        )

    def _after_finish(self, journal: Journal) -> Journal:
        if self._options.if_finished == "restart":
            self._remove_plan(journal)
            return self._plan(abandoned=journal.abandoned)
        results = paths.as_path(self._folder.path("results.jsonl"))
        results.fs.invalidate_cache()  # s3fs remembers listings
        try:
            results.stat()  # exists() takes a store that does not answer for one that has no such file
        except FileNotFoundError:
            raise StaleJournalError(
                f"{self._owner} has finished its run, but {results} is gone. Nothing was sent. Put the file back, or run "
                'and pay again with if_finished="restart".'
            ) from None
        with suppress(Exception):  # an input that is gone, or cannot be asked about, takes nothing from a finished run
            if self._fingerprint(self._files()) != journal.fingerprint:
                log.warning(
                    "The input or its parameters have changed since the run finished; its results are those of the earlier "
                    'input. To run and pay again use if_finished="restart".'
                )
        return journal

    def _with_changed_input(self, journal: Journal) -> Journal:
        if self._options.on_changed_input == "restart":
            log.warning(
                "The input has changed since the run was planned; it begins anew. Batches of the earlier plan that still "
                "run are cancelled."
            )
            try:
                return self._anew(journal)
            except InputError:
                log.warning(
                    "The new input has problems, so the earlier plan is kept: its batches go on and are billed. To finish that "
                    "run take the new input away."
                )
                raise
        if not journal.fingerprint:
            raise StaleJournalError(
                f"An earlier try of {self._owner} gave up its plan in {self._folder.output} for a new input, and did not get "
                'through planning that. Nothing was sent. Begin anew with on_changed_input="restart": batches of the earlier '
                "plan that run are then cancelled."
            )
        raise StaleJournalError(
            f"The input or its parameters have changed since {self._owner} planned its run in {self._folder.output}. "
            'Nothing was sent. To run with the new input use on_changed_input="restart" (batches of the earlier plan that '
            "run are cancelled; what they have done is billed). To finish the earlier run take the input away: it has a copy of "
            "its own."
        )

    def _anew(self, journal: Journal) -> Journal:
        # An earlier plan is not given up for an input that cannot be planned: what runs of it is paid for.
        options = self._options
        planning.check_input(self._files(), options.limits, options.endpoint, options.max_rounds)
        # Planning overwrites its shards: whatever comes of it, the earlier plan cannot be gone on with.
        journal.fingerprint = ""
        self._take_over(journal)
        self._remove_plan(journal)
        return self._plan(abandoned=[*journal.abandoned, *journal.pieces])

    def _remove_plan(self, journal: Journal) -> None:
        for piece in journal.pieces:
            self._folder.remove(self._folder.files_of(piece))
        self._folder.remove_landed()

    def _has_changed(self, journal: Journal) -> bool:
        try:
            return self._fingerprint(self._files()) != journal.fingerprint
        except InputError:
            if not journal.fingerprint:
                return True
            log.warning("The input is gone; the run goes on with its own copy.")
            return False

    def _fingerprint(self, files: list[Any]) -> str:
        limits = self._options.limits
        parameters = [self._options.endpoint, limits.max_requests, limits.effective_bytes]
        return sources.fingerprint(files, [*parameters, True] if limits.one_model else parameters)

    def _files(self) -> list[ObjectStoragePath]:
        """The input's files. A folder or glob may cover the output; what the run writes there is no input."""
        return sources.find_files(self._options.input, is_own=self._folder.is_own)

    def _plan(self, *, abandoned: Iterable[Piece] = ()) -> Journal:
        options = self._options
        files = self._files()
        fingerprint = self._fingerprint(files)
        plan = planning.plan_input(files, self._folder, options.limits, options.endpoint, options.max_rounds)
        journal = Journal(
            owner=asdict(self._owner),
            fingerprint=fingerprint,
            started_at=self._clock(),
            attempt=self._attempt,
            requests=sum(piece.requests for piece in plan.pieces),
            bytes=sum(piece.bytes for piece in plan.pieces),
            pieces=plan.pieces,
            # What was only planned has left nothing at the service, nor has what is cleaned.
            abandoned=[
                replace(piece, cancelled_at=None)
                for piece in abandoned
                if piece.is_at_least("uploaded") and not piece.is_at_least("cleaned")
            ],
        )
        self._take_over(journal)
        log.info(plan_line(journal, plan.models, plan.files))
        return journal

    def _take_over(self, journal: Journal) -> None:
        journal.attempt, journal.deadline_at = self._attempt, self.deadline_at
        self.save(journal)
        self._mark = self._attempt
        self._is_new_attempt = False
