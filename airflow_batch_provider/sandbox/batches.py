"""The batches of a sandbox: their records, the work that is due on them, and how they look from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec

from airflow_batch_provider.sandbox.errors import ApiError, no_such_batch
from airflow_batch_provider.sandbox.files import FileStore
from airflow_batch_provider.sandbox.ids import Ids
from airflow_batch_provider.sandbox.inspection import inspect
from airflow_batch_provider.sandbox.orders import Order
from airflow_batch_provider.sandbox.records import RecordFolder
from airflow_batch_provider.sandbox.results import Results, write_results
from airflow_batch_provider.sandbox.settings import Settings
from airflow_batch_provider.sandbox.timeline import TERMINAL, Phase, Plan, Work, phase_at, visible_time, work_due
from airflow_batch_provider.sandbox.views import batch_to_wire


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known about a batch; a change makes a new record.

    :param id: Its id.
    :param sequence: Its place in the order of creation.
    :param order: What its creator asked for.
    :param plan: What decides its state at any time.
    :param results: Its result files, once they are written.
    """

    id: str
    sequence: int
    order: Order
    plan: Plan
    results: Results | None = None


class Stopped(Exception):  # noqa: N818 - not an error: the sandbox is closing
    """Work on a batch was given up because the sandbox closes; the next sandbox does it again."""


def _second_name(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError:
        # Not every file system can give a file two names.
        shutil.copyfile(path, name)


class BatchStore:
    """
    Keeps batches.

    :param folder: Where records and the inputs of unfinished batches are kept.
    :param files: Where inputs come from and results go.
    :param ids: Makes the ids.
    :param settings: The sandbox's settings.
    """

    def __init__(self, folder: Path, *, files: FileStore, ids: Ids, settings: Settings) -> None:
        self._folder = folder
        self._files = files
        self._ids = ids
        self._settings = settings
        self._records = RecordFolder(folder, BatchRecord, is_kept=settings.directory is not None)
        # Numbered anew, so that the place in the order is an index even if a record was lost.
        known = sorted(self._records.load(), key=lambda record: record.sequence)
        self._batches = {
            record.id: msgspec.structs.replace(record, sequence=place) for place, record in enumerate(known)
        }
        self._in_order = list(self._batches)
        self._change_lock = threading.Lock()
        self._work_locks: dict[str, threading.Lock] = {}
        self._is_closing = False

    def close(self) -> None:
        """Make work in other threads stop soon."""
        self._is_closing = True

    def create(self, order: Order) -> BatchRecord:
        """
        Make a batch.

        :param order: What is asked for; its input file has been checked.
        """
        durations = self._settings.effective_durations
        seconds = order.directives.seconds
        plan = Plan(
            created_at=self._settings.clock(),
            durations=durations,
            directives=order.directives,
            run_seconds=None if seconds is None else seconds / self._settings.time_scale,
        )
        record = BatchRecord(id=self._fresh_id(), sequence=len(self._in_order), order=order, plan=plan)
        # A second name for the input: a batch goes on when its input file is deleted.
        _second_name(self._files.path(self._files.get(order.input_file_id)), self._input_path(record))
        self._save(record)
        self._in_order.append(record.id)
        return record

    def _fresh_id(self) -> str:
        while (batch_id := self._ids.batch()) in self._batches:
            pass
        return batch_id

    def _input_path(self, record: BatchRecord) -> Path:
        return self._folder / f"{record.id}.input"

    def _save(self, record: BatchRecord) -> None:
        self._records.save(record.id, record)
        self._batches[record.id] = record

    def _change_plan(self, batch_id: str, **changes: Any) -> BatchRecord:
        # A cancel comes from the event loop while a worker notes what it read; neither may undo the other.
        with self._change_lock:
            record = self.get(batch_id)
            changed = msgspec.structs.replace(record, plan=msgspec.structs.replace(record.plan, **changes))
            self._save(changed)
        return changed

    def get(self, batch_id: str) -> BatchRecord:
        """
        Return a batch's record.

        :raises ApiError: there is no such batch.
        """
        record = self._batches.get(batch_id)
        if record is None:
            raise no_such_batch(batch_id)
        return record

    def select(self, *, after: str | None, limit: int) -> tuple[list[BatchRecord], bool]:
        """
        Return one page of batches, newest first, and whether there are more.

        :param after: The last id of the page before.
        :param limit: How many at most.
        :raises ApiError: there is no batch ``after``.
        """
        end = len(self._in_order) if after is None else self.get(after).sequence
        start = max(0, end - limit)
        return [self._batches[batch_id] for batch_id in reversed(self._in_order[start:end])], start > 0

    def all(self) -> list[BatchRecord]:
        """Return every batch there ever was, in the order of creation."""
        return [self._batches[batch_id] for batch_id in list(self._in_order)]

    def phase(self, record: BatchRecord) -> Phase:
        """Return where a batch stands now, as far as its files are ready."""
        now = self._settings.clock()
        return phase_at(record.plan, visible_time(record.plan, now, is_produced=record.results is not None))

    def to_wire(self, record: BatchRecord) -> dict[str, Any]:
        """Return OpenAI's batch object."""
        return batch_to_wire(record.id, record.order, record.plan, self.phase(record), record.results)

    def cancel(self, record: BatchRecord) -> BatchRecord:
        """
        Ask a batch to stop; asking again changes nothing.

        :raises ApiError: it has ended already.
        """
        status = self.phase(record).status
        if status in TERMINAL:
            raise ApiError(409, f"Cannot cancel a batch with status '{status}'.")
        if status == "cancelling" or record.plan.cancel_at is not None:
            return record
        return self._change_plan(record.id, cancel_at=self._settings.clock())

    def needs_work(self, record: BatchRecord) -> bool:
        """Say whether :meth:`settle` has something to do."""
        return self._work_due(record) is not None

    def settle(self, batch_id: str) -> BatchRecord:
        """
        Do the work on files that is due, and return the batch as it is then. Takes its time; call it in a thread.

        :param batch_id: The batch.
        """
        # A sandbox that closes leaves the batch where it is.
        with contextlib.suppress(Stopped), self._work_locks.setdefault(batch_id, threading.Lock()):
            while work := self._work_due(self.get(batch_id)):
                if work == "inspect":
                    self._inspect(batch_id)
                else:
                    self._produce(batch_id)
        self._work_locks.pop(batch_id, None)
        return self.get(batch_id)

    def _work_due(self, record: BatchRecord) -> Work | None:
        return work_due(record.plan, self._settings.clock(), is_produced=record.results is not None)

    def _tick(self) -> None:
        if self._is_closing:
            raise Stopped

    def _inspect(self, batch_id: str) -> None:
        record = self.get(batch_id)
        facts = inspect(
            self._input_path(record),
            endpoint=record.order.endpoint,
            limits=self._settings.limits,
            directives=record.order.directives,
            tick=self._tick,
        )
        self._change_plan(batch_id, facts=facts)
        if facts.errors:
            self._input_path(record).unlink(missing_ok=True)

    def _produce(self, batch_id: str) -> None:
        record = self.get(batch_id)
        results = write_results(
            record.id,
            record.order,
            record.plan,
            source=self._input_path(record),
            files=self._files,
            settings=self._settings,
            tick=self._tick,
        )
        # No change can have come in between: a batch whose results are due has reached its end.
        self._save(msgspec.structs.replace(record, results=results))
        self._input_path(record).unlink(missing_ok=True)
