"""
Whether a service as a whole can be asked, when to probe it, and how many questions a second it bears.

After trouble one batch at a time is a probe, at growing distances, never before the service's own Retry-After. A look
that meets a 429 halves the rate of questions, a probe does not: it is slow enough. Each look without trouble raises it a
little.
"""

from __future__ import annotations

from airflow_batch_provider.core.patience import MAX_RETRY_AFTER_SECONDS
from airflow_batch_provider.exceptions import ApiStatusError, BatchError, RateLimitError

MAX_PROBE_PAUSE_SECONDS = 60.0
MAX_QUESTIONS_PER_SECOND = 40.0
MIN_QUESTIONS_PER_SECOND = 1.0
_MOST_DOUBLINGS = 10


class ServiceHealth:
    """
    What the last looks say about a service.

    :ivar error: Why it cannot be asked; None when it can.
    :ivar not_before: Epoch seconds before which it is left alone.
    :ivar rate: Single questions a second.
    """

    def __init__(self) -> None:
        self.error: BatchError | None = None
        self.not_before = 0.0
        self.rate = MAX_QUESTIONS_PER_SECOND
        self._failures = 0

    def is_well(self) -> bool:
        """
        Note a look without trouble.

        :returns: True when there was trouble before.
        """
        was_ill = self.error is not None
        self.error, self.not_before, self._failures = None, 0.0, 0
        self.rate = min(MAX_QUESTIONS_PER_SECOND, self.rate * 1.1)
        return was_ill

    def is_ill(self, error: BatchError, now: float, *, shortest: float, jitter: float) -> bool:
        """
        Note a look that was broken off.

        :param error: Why.
        :param now: Epoch seconds.
        :param shortest: Shortest pause between looks that somebody asked for, in seconds.
        :param jitter: Random number from 0 to 1: other triggerers were told the same.
        :returns: True when those who wait should hear of it. One failure is a blip, and no news for thousands of tasks;
            a long pause is.
        """
        self.error = error
        self._failures += 1
        if isinstance(error, RateLimitError) and self._failures == 1:
            self.rate = max(MIN_QUESTIONS_PER_SECOND, self.rate / 2)
        pause = min(MAX_PROBE_PAUSE_SECONDS, shortest * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS))
        asked_for = error.retry_after if isinstance(error, ApiStatusError) else None
        pause = max(pause, min(asked_for or 0.0, MAX_RETRY_AFTER_SECONDS))
        self.not_before = now + pause * (1 + 0.1 * jitter)
        return self._failures > 1 or pause >= MAX_PROBE_PAUSE_SECONDS
