"""Identifiers that look like OpenAI's: unique, and the same ones again when the seed is the same."""

from __future__ import annotations

import random
import string

_ALPHABET = string.ascii_letters + string.digits


class Ids:
    """
    Makes identifiers.

    :param seed: The same seed gives the same sequence; ``None`` gives a new sequence in every process, so that
        ids remembered from yesterday's sandbox never name something else today.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def file(self) -> str:
        """Return an id for a file: ``file-`` and 24 letters or digits."""
        return "file-" + "".join(self._random.choices(_ALPHABET, k=24))

    def batch(self) -> str:
        """Return an id for a batch: ``batch_`` and 32 hex digits."""
        return f"batch_{self._random.getrandbits(128):032x}"

    def request(self) -> str:
        """Return an id for one HTTP request: ``req_`` and 32 hex digits."""
        return f"req_{self._random.getrandbits(128):032x}"
