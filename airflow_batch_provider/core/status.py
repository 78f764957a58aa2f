"""
The one table of batch statuses.

Every spelling seen on a wire (snake, Pascal or upper case; provider dialects) is normalised here, and no other module
compares a status with a string. Two rules are easy to get wrong and cost money when they are:

1. ``cancelling`` has not ended: the batch still settles, and its paid, partial results do not exist yet.
2. An unknown status has not ended either: services add states. It is waited out until the caller's deadline.
"""

from __future__ import annotations

import re
from enum import StrEnum


class BatchStatus(StrEnum):
    """Status of a batch, in the OpenAI reference's words, plus ``unknown`` for what no table knows."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def has_ended(self) -> bool:
        """True when the service will not change the batch any more."""
        return self in _ENDED

    @property
    def may_have_results(self) -> bool:
        """True when output or error files may exist: also expired and cancelled batches keep what was paid for."""
        return self in _WITH_RESULTS

    @property
    def may_be_cancelled(self) -> bool:
        """True when a cancel call makes sense."""
        return not self.has_ended and self is not BatchStatus.CANCELLING

    @classmethod
    def from_wire(cls, text: object) -> BatchStatus:
        """
        Normalise a service's spelling.

        :param text: The ``status`` value as received; anything that is not a known word gives ``UNKNOWN``.
        """
        if not isinstance(text, str):
            return cls.UNKNOWN
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text.strip()).lower().replace("-", "_")
        return _SPELLINGS.get(snake, cls.UNKNOWN)


_ENDED = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})
_WITH_RESULTS = frozenset({BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})

# Besides OpenAI's own: Bedrock's and Vertex's states as the Portkey gateway passes them on (also its list, which
# keeps AWS's Pascal case), Cohere's, Novita's upper case. "success" is left out on purpose: some gateways answer it to
# a cancel call, where it says nothing about the batch.
_SPELLINGS = {status.value: status for status in BatchStatus} | {
    "pending": BatchStatus.VALIDATING,
    "queued": BatchStatus.VALIDATING,
    "submitted": BatchStatus.VALIDATING,
    "scheduled": BatchStatus.VALIDATING,
    "processing": BatchStatus.IN_PROGRESS,
    "progress": BatchStatus.IN_PROGRESS,
    "running": BatchStatus.IN_PROGRESS,
    "finalising": BatchStatus.FINALIZING,
    "complete": BatchStatus.COMPLETED,
    "partially_completed": BatchStatus.COMPLETED,
    "canceling": BatchStatus.CANCELLING,
    "stopping": BatchStatus.CANCELLING,
    "canceled": BatchStatus.CANCELLED,
    "stopped": BatchStatus.CANCELLED,
}
