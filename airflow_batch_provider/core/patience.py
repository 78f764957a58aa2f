"""How patiently to wait: bounds that a user sets, pauses between two looks, and how long trouble is borne."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

DEFAULT_POLL_SECONDS = 30.0
DEFAULT_MAX_POLL_SECONDS = 300.0
AGE_FRACTION = 0.05
JITTER_FRACTION = 0.1
MAX_RETRY_AFTER_SECONDS = 3600.0
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """
    How patiently to wait; all values in seconds.

    :param poll_interval: Shortest pause between looks.
    :param max_poll_interval: Longest pause between looks.
    :param outage_patience: How long the service may not answer, or answer with its own faults.
    :param refusal_patience: How long the service may refuse the question.
    """

    poll_interval: float = DEFAULT_POLL_SECONDS
    max_poll_interval: float = DEFAULT_MAX_POLL_SECONDS
    outage_patience: float = 3600.0
    refusal_patience: float = 300.0


@dataclass(slots=True)
class Trouble:
    """
    A row of failed looks at one batch; all values in epoch seconds.

    :param since: When it began.
    :param refused_since: When refusals began; None while the last look met an outage.
    :param reason: Why the last look failed, in a sentence.
    :param not_before: When the service may be asked again.
    :param answer_by: Before this nobody gives up.
    """

    since: float
    refused_since: float | None
    reason: str
    not_before: float
    answer_by: float

    def bearable_until(self, policy: WatchPolicy) -> float:
        """
        Say when it has gone on for too long; a refusal that follows an outage gets its own patience.

        :param policy: How patiently to wait.
        """
        longest = max(policy.outage_patience, policy.refusal_patience)
        until = self.since + policy.outage_patience
        if self.refused_since is not None:
            until = min(self.refused_since + policy.refusal_patience, self.since + longest)
        return max(until, self.answer_by)


def pause_between_looks(policy: WatchPolicy, age: float, seconds_left: float | None) -> float:
    """
    How long to leave batches alone after a look.

    :param policy: Bounds of the pause.
    :param age: Seconds since the oldest of them was created.
    :param seconds_left: Estimate of the time they still need, or None.
    :returns: Seconds.
    """
    pause = max(policy.poll_interval, min(policy.max_poll_interval, AGE_FRACTION * age))
    return pause if seconds_left is None else min(pause, max(policy.poll_interval, seconds_left / 2))


def as_seconds(value: timedelta | float) -> float:
    """
    A span of time, however the user wrote it.

    :param value: Seconds or a timedelta.
    """
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
