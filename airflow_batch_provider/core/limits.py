"""What one batch may hold. Limits are data of the service, not of the code: the connection carries them."""

from __future__ import annotations

from dataclasses import dataclass

# English prose has four; code and other languages fewer. Too few is safe: the batch is smaller.
BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """
    Highest size of one batch.

    :param max_requests: Requests; OpenAI documents 50,000.
    :param max_bytes: Bytes of the input file; OpenAI documents 200 MB, read here as the smaller 200 * 10^6.
    :param max_tokens: Estimated input tokens, or None for no limit.
    :param one_model: True when all requests of a batch must name the same model.
    """

    max_requests: int = 50_000
    max_bytes: int = 200_000_000
    max_tokens: int | None = None
    one_model: bool = False

    @property
    def effective_bytes(self) -> int:
        """Bytes one batch may hold when its tokens are counted too: about three characters a token, to be safe."""
        return self.max_bytes if self.max_tokens is None else min(self.max_bytes, self.max_tokens * BYTES_PER_TOKEN)


DEFAULT_LIMITS = BatchLimits()
