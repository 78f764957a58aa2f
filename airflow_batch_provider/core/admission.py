"""Whether the service takes new batches now, and when to try again."""

from __future__ import annotations

from airflow_batch_provider.core.patience import MAX_RETRY_AFTER_SECONDS

LOOK_AGAIN_SECONDS = 60.0
# When it took not one of ours, no worker is woken sooner to try again while others run.
NO_LUCK_SECONDS = 600.0


class Admission:
    """
    What refusals of new batches mean. A full queue has room when one of our batches ends; a limit of calls has it
    sooner, and the service may say when. All moments are epoch seconds.
    """

    def __init__(self) -> None:
        self._closed_until = 0.0
        self._opens_by_itself_at: float | None = None
        self._has_taken = False

    def is_open(self, now: float) -> bool:
        """
        Say whether batches may be created.

        :param now: Epoch seconds.
        """
        return now >= self._closed_until

    def begin(self) -> None:
        """Say that now as many batches are sent as may be."""
        self._has_taken = False

    def took_one(self) -> None:
        """Note that a batch was created."""
        self._has_taken = True
        self._opens_by_itself_at = None

    def queue_was_full(self, now: float) -> None:
        """
        Note that a batch was refused because too much is queued.

        :param now: Epoch seconds.
        """
        self._closed_until = now + LOOK_AGAIN_SECONDS

    def wants_fewer_calls(self, now: float, retry_after: float | None) -> None:
        """
        Note a 429.

        :param now: Epoch seconds.
        :param retry_after: Seconds the service wants to be left alone, at most an hour of which counts.
        """
        self._closed_until = now + min(retry_after or LOOK_AGAIN_SECONDS, MAX_RETRY_AFTER_SECONDS)
        self._opens_by_itself_at = self._closed_until
        if not self._has_taken:
            self._opens_by_itself_at = max(self._closed_until, now + NO_LUCK_SECONDS)

    def try_again_at(self, now: float, *, others_run: bool) -> float | None:
        """
        When to try again; None when the end of another batch comes first.

        :param now: Epoch seconds.
        :param others_run: True when batches of ours are waited for.
        """
        moments = [self._closed_until, now + 1]
        if others_run:
            if self._opens_by_itself_at is None:
                return None
            moments.append(self._opens_by_itself_at)
        return max(moments)
