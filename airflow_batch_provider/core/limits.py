"""What one batch may hold. Limits are data of the service, not of the code: the connection carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_batch_provider.exceptions import ConfigurationError

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

    def overridden(self, changes: Mapping[str, Any]) -> BatchLimits:
        """
        Limits with single values changed.

        :param changes: New values by name.
        :raises ConfigurationError: There is no such limit, or it is not a number above zero.
        """
        for name, value in changes.items():
            if name not in ("max_requests", "max_bytes", "max_tokens", "one_model"):
                raise ConfigurationError(
                    f'There is no limit "{name}": they are max_requests, max_bytes, max_tokens, one_model.'
                )
            if not isinstance(value, int) or (name != "one_model" and value < 1):
                raise ConfigurationError(f'The limit "{name}" must be a whole number above zero, not {value!r}.')
        return replace(self, **changes)

    @property
    def effective_bytes(self) -> int:
        """Bytes one batch may hold when its tokens are counted too: about three characters a token, to be safe."""
        return self.max_bytes if self.max_tokens is None else min(self.max_bytes, self.max_tokens * BYTES_PER_TOKEN)

    def excess(self, size: int) -> str:
        """
        Say by which limit a request fits in no batch.

        :param size: Its bytes, more than ``effective_bytes``.
        """
        if self.max_tokens is None or self.effective_bytes == self.max_bytes:
            return f"{size:,} bytes, but the service takes {self.max_bytes:,} in a whole batch"
        tokens = -(-size // BYTES_PER_TOKEN)  # rounded up, so that it is more than the limit
        return (
            f"about {tokens:,} tokens ({size:,} bytes), but one batch may hold {self.max_tokens:,} tokens (max_tokens)"
        )


DEFAULT_LIMITS = BatchLimits()

# What services document (gathered in November 2026), by profile name. Limits change: the connection overrides each.
PROFILES: dict[str, BatchLimits] = {
    "openai": DEFAULT_LIMITS,
    "azure-openai": BatchLimits(one_model=True),  # one deployment per file
    "together": BatchLimits(max_bytes=100_000_000),
    "digitalocean": DEFAULT_LIMITS,
    "ogx": BatchLimits(max_bytes=100_000_000),  # answers 413 above 100 MiB (1.5.0)
    "vertex-ai": BatchLimits(max_requests=200_000, max_bytes=1_000_000_000, one_model=True),
    # S3 refuses parts under 5 MiB and the Portkey gateway sends parts of about 1 MB, so larger uploads fail there.
    "bedrock": BatchLimits(max_bytes=1_000_000, one_model=True),
}


def limits_of(
    profile: str | None = None,
    *,
    max_requests: int | None = None,
    max_bytes: int | None = None,
    max_tokens: int | None = None,
    one_model: bool | None = None,
) -> BatchLimits:
    """
    Limits of a profile, with single values overridden.

    :param profile: Name of a profile; None or an unknown name gives OpenAI's.
    :param max_requests: See :class:`BatchLimits`; None keeps the profile's, here and below.
    :param max_bytes: See there.
    :param max_tokens: See there.
    :param one_model: See there.
    """
    changes = {"max_requests": max_requests, "max_bytes": max_bytes, "max_tokens": max_tokens, "one_model": one_model}
    limits = PROFILES.get(profile or "", DEFAULT_LIMITS)
    return limits.overridden({name: value for name, value in changes.items() if value is not None})
