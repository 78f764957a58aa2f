"""From a finished batch to its two result files in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from airflow_batch_provider.sandbox.files import FileRecord, FileStore
from airflow_batch_provider.sandbox.orders import Order
from airflow_batch_provider.sandbox.production import Job, produce
from airflow_batch_provider.sandbox.settings import Settings
from airflow_batch_provider.sandbox.timeline import Plan, ends_at, phase_at


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a batch left behind.

    :param output_file_id: The rows that succeeded; None when none did.
    :param error_file_id: The rows that did not; None (or empty, when asked for) when all did.
    :param completed: Lines of the one.
    :param failed: Lines of the other.
    """

    output_file_id: str | None
    error_file_id: str | None
    completed: int
    failed: int


def write_results(
    batch_id: str,
    order: Order,
    plan: Plan,
    *,
    source: Path,
    files: FileStore,
    settings: Settings,
    tick: Callable[[], None],
) -> Results:
    """
    Write a batch's results and make files of them.

    :param batch_id: The batch.
    :param order: What its creator asked for.
    :param plan: What decides how it ended.
    :param source: Its input.
    :param files: Where the results go.
    :param settings: The sandbox's settings.
    :param tick: Called every few lines; it may raise to stop the work, and then nothing is left behind.
    """
    output, errors = files.path_aside(), files.path_aside()
    job = _job(batch_id, order, plan, settings)
    wants_error_file = order.directives.zero_byte_error_file
    try:
        tally = produce(source, output, errors, job, seed=settings.seed, tick=tick)
        good = _add(batch_id, order, files, output, "output").id if tally.completed else None
        bad = _add(batch_id, order, files, errors, "error").id if tally.failed or wants_error_file else None
    finally:
        output.unlink(missing_ok=True)
        errors.unlink(missing_ok=True)
    if bad is None and order.directives.empty_error_id:
        bad = ""
    return Results(output_file_id=good, error_file_id=bad, completed=tally.completed, failed=tally.failed)


def _job(batch_id: str, order: Order, plan: Plan, settings: Settings) -> Job:
    ended_at = ends_at(plan)
    phase = phase_at(plan, ended_at)
    return Job(
        batch_id=batch_id,
        endpoint=order.endpoint,
        rows=plan.facts.rows if plan.facts else 0,
        share=phase.share,
        ending=phase.status,
        ended_at=int(ended_at),
        directives=order.directives,
        max_line_bytes=settings.limits.max_line_bytes,
    )


def _add(batch_id: str, order: Order, files: FileStore, aside: Path, kind: str) -> FileRecord:
    return files.add(
        aside,
        filename=f"{batch_id}_{kind}.jsonl",
        purpose="batch_output",
        keep_seconds=order.keep_seconds,
        content_type=order.directives.content_type,
    )
