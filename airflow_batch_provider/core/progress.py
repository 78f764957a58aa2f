"""How a wait looks to a person: one line, said again only when something changed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from airflow_batch_provider.core.standing import Progress, Standing, progress_of
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Watch

_WORDS = {BatchStatus.IN_PROGRESS: "running"}


class ProgressReporter:
    """
    Makes the progress line of a watch.

    :param watch: What is being waited for.
    :param standing: The run that waits, which its lines then tell of; None for a wait of its own.
    """

    def __init__(self, watch: Watch, standing: Standing | None = None) -> None:
        self._watch = watch
        self._standing = standing
        # A hash: ten thousand reporters in one process must not remember what they said.
        self._last: int | None = None

    def next_line(self, now: float) -> str | None:
        """
        The line to log, or None when nothing changed since the last one.

        :param now: Epoch seconds.
        """
        seen = self._watch.seen.values()
        snapshot = hash(tuple((b.id, b.status, b.counts) for b in seen))
        if not seen or snapshot == self._last:
            return None
        self._last = snapshot
        return describe(self._watch, now, self._standing)


def describe(watch: Watch, now: float, standing: Standing | None = None) -> str:
    """
    Say how far the batches, or the run that waits for them, are.

    :param watch: What is being waited for.
    :param now: Epoch seconds.
    :param standing: The run, or None.
    """
    parts = [f"Round {standing.round}: " if standing and standing.round else "", _statuses(watch, standing)]
    progress = progress_of(watch, standing, now)
    if progress.total:
        parts.append(f": {progress.done:,} of {progress.total:,} done, {progress.failed:,} failed")
        if progress.pace:
            parts.append(f", {progress.pace * 60:,.0f}/min")
        if progress.seconds_left and (standing or watch.open_ids()):
            parts.append(f", about {_duration(progress.seconds_left)} left")
    return "".join(parts) + "."


def progress_value(watch: Watch, text: str, now: float, standing: Standing | None = None) -> dict[str, Any]:
    """
    How far the batches, or the run that waits for them, are, as plain JSON: numbers, and the line that people read.

    :param watch: What is being waited for.
    :param text: The line.
    :param now: Epoch seconds; in the value as ISO time.
    :param standing: The run, or None.
    """
    batches, ended = len(watch.batch_ids), len(watch.batch_ids) - len(watch.open_ids())
    if standing is not None:
        batches, ended = standing.shards, standing.landed + ended
    numbers = as_json(progress_of(watch, standing, now), now)
    return {"text": text, "batches": batches, "ended": ended, **numbers, "at": iso_time(now)}


def as_json(progress: Progress, now: float) -> dict[str, Any]:
    """
    Numbers for people and programs.

    :param progress: How far it is.
    :param now: Epoch seconds.
    """
    left = progress.seconds_left
    return {
        "done": progress.done,
        "failed": progress.failed,
        "total": progress.total,
        "per_minute": None if progress.pace is None else round(progress.pace * 60, 1),
        "estimated_end": None if left is None else iso_time(now + left),
    }


def iso_time(moment: float) -> str:
    """
    A moment as text, to the second, in UTC.

    :param moment: Epoch seconds.
    """
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _statuses(watch: Watch, standing: Standing | None) -> str:
    total = len(watch.batch_ids) if standing is None else standing.shards
    if total == 1 and watch.seen:
        (batch,) = watch.seen.values()
        return f"Batch {batch.id} is {_word(batch.status, batch.raw_status)}"
    counter = Counter(_word(b.status, b.raw_status) for b in watch.seen.values())
    if missing := len(watch.batch_ids) - len(watch.seen):
        counter["not answered yet"] = missing
    parts = [f"{number}/{total} {word}" for word, number in counter.most_common()]
    if standing is not None:
        waiting = total - standing.landed - len(watch.batch_ids)
        others = (("waiting for a place", waiting), ("landed", standing.landed))
        parts += [f"{number}/{total} {word}" for word, number in others if number > 0]
    return ", ".join(parts)


def _word(status: BatchStatus, raw: str | None) -> str:
    if status is BatchStatus.UNKNOWN:
        return f'"{raw}" (unknown to this provider, taken as running)' if raw else "not telling its status"
    return _WORDS.get(status, status.value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
