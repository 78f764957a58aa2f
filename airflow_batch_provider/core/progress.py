"""How a wait looks to a person: one line, said again only when something changed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Watch

_WORDS = {BatchStatus.IN_PROGRESS: "running"}


class ProgressReporter:
    """
    Makes the progress line of a watch.

    :param watch: What is being waited for.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
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
        return describe(self._watch, now)


def describe(watch: Watch, now: float) -> str:
    """
    Say how far the batches are.

    :param watch: What is being waited for.
    :param now: Epoch seconds.
    """
    parts = [_statuses(watch)]
    counts = [batch.counts for batch in watch.seen.values() if batch.counts]
    if total := sum(c.total for c in counts):
        parts.append(f": {watch.done():,} of {total:,} done, {sum(c.failed for c in counts):,} failed")
        if pace := watch.pace(now):
            parts.append(f", {pace * 60:,.0f}/min")
        left = watch.seconds_left(now)
        if left and watch.open_ids():
            parts.append(f", about {_duration(left)} left")
    return "".join(parts) + "."


def progress_value(watch: Watch, text: str, now: float) -> dict[str, Any]:
    """
    How far the batches are, as plain JSON: counts, and the line that people read.

    :param watch: What is being waited for.
    :param text: The line.
    :param now: Epoch seconds; in the value as ISO time.
    """
    counts = [batch.counts for batch in watch.seen.values() if batch.counts]
    return {
        "text": text,
        "batches": len(watch.batch_ids),
        "ended": len(watch.batch_ids) - len(watch.open_ids()),
        "total": sum(c.total for c in counts),
        "done": watch.done(),
        "failed": sum(c.failed for c in counts),
        "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    }


def _statuses(watch: Watch) -> str:
    total = len(watch.batch_ids)
    if total == 1 and watch.seen:
        (batch,) = watch.seen.values()
        return f"Batch {batch.id} is {_word(batch.status, batch.raw_status)}"
    counter = Counter(_word(b.status, b.raw_status) for b in watch.seen.values())
    if missing := total - len(watch.seen):
        counter["not answered yet"] = missing
    return ", ".join(f"{number}/{total} {word}" for word, number in counter.most_common())


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
