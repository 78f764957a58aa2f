"""What the result files of one batch held, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """
    What one batch's result files held.

    :param counts: Requests by outcome, those that go again left out; with ``open`` they add up to all requests.
    :param reasons: Why requests failed, and how often.
    :param final_reasons: The same without those that go again.
    :param open: Requests that go again in the next round.
    :param duplicates: Further lines for a request that had its answer.
    :param strangers: Lines for nobody.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    final_reasons: Counter[str] = field(default_factory=Counter)
    open: int = 0
    duplicates: int = 0
    strangers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The tally as plain JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tally:
        """
        Read a tally.

        :param data: What :meth:`to_dict` made of one.
        """
        values: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value for name, value in data.items()
        }
        return cls(**values)
