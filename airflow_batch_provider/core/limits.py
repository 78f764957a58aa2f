"""What one batch may hold. Limits are data of the service, not of the code: the connection carries them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """
    Highest size of one batch.

    :param max_requests: Requests; OpenAI documents 50,000.
    :param max_bytes: Bytes of the input file; OpenAI documents 200 MB, read here as the smaller 200 * 10^6.
    """

    max_requests: int = 50_000
    max_bytes: int = 200_000_000


DEFAULT_LIMITS = BatchLimits()
