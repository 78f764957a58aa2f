"""What a trigger tells the task it resumes: built and parsed by one class, checked on the way in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from airflow_batch_provider.exceptions import TriggerEventError

VERSION = 1
Outcome = Literal["ended", "timed_out", "gave_up"]


@dataclass(frozen=True, slots=True)
class WaitEvent:
    """
    The end of a wait.

    :param outcome: ``ended``: all batches ended; ``timed_out``: the deadline passed; ``gave_up``: they could not be
        asked.
    :param batch_ids: All batches of the wait.
    :param deadline_at: The wait's deadline, epoch seconds.
    :param open_ids: Batches that had not ended.
    :param reason: Why the wait gave up.
    """

    outcome: Outcome
    batch_ids: tuple[str, ...]
    deadline_at: float
    open_ids: tuple[str, ...] = ()
    reason: str = ""

    def to_event(self) -> dict[str, Any]:
        """The event as plain JSON."""
        return {
            "version": VERSION,
            "outcome": self.outcome,
            "batch_ids": list(self.batch_ids),
            "deadline_at": self.deadline_at,
            "open_ids": list(self.open_ids),
            "reason": self.reason,
        }

    @classmethod
    def from_event(cls, event: Any) -> WaitEvent:
        """
        Read an event.

        :param event: What Airflow hands to the resumed task.
        :raises TriggerEventError: It is missing or malformed. Taken as success, a dead wait would look like a good end.
        """
        try:
            return cls(
                outcome={(VERSION, name): name for name in get_args(Outcome)}[event["version"], event["outcome"]],
                batch_ids=_ids(event["batch_ids"]),
                deadline_at=float(event["deadline_at"]),
                open_ids=_ids(event["open_ids"]),
                reason=str(event["reason"]),
            )
        except (TypeError, KeyError, ValueError, OverflowError):
            raise TriggerEventError(
                "The task was resumed without a readable event, so it is not known how the wait ended. The batches "
                "go on at the service; a retry re-attaches to them. Do scheduler, triggerer and workers run the same "
                "version of airflow-batch-provider?"
            ) from None


def _ids(value: Any) -> tuple[str, ...]:
    # A text is a sequence too, and would be taken for batches "b", "a", "t", ...
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(value)
