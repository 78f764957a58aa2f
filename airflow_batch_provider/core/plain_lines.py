"""Result lines that are plain successes, as nearly all are: taken many at a time, step by step over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat

import msgspec

from airflow_batch_provider.core import outcomes

_SUCCEEDED = b',"outcome":"succeeded","response":'


@dataclass(slots=True)
class Arrivals:
    """
    Successes that wait to be put in their places.

    :param custom_ids: Whose they are.
    :param tails: Their rows without the heads.
    :param spent: Tokens of input.
    :param made: Tokens of output.
    """

    custom_ids: list[str] = field(default_factory=list)
    tails: list[bytes] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    made: list[int] = field(default_factory=list)


class PlainLines:
    """
    Makes rows of plain successes. Every row of every run comes through here.

    :param round_number: The round that decides.
    :param batch_id_json: The batch as JSON.
    """

    def __init__(self, round_number: int, batch_id_json: bytes) -> None:
        self._end = f',"round":{round_number},"batch_id":{batch_id_json.decode()}}}\n'
        self._ends: dict[str | None, str] = {}

    def read(self, block: bytes, arrivals: Arrivals) -> bool:
        """
        Read lines.

        :param block: Whole lines of a result file.
        :param arrivals: Gets their rows.
        :returns: False when one of them is no plain success; then nothing has changed.
        """
        try:
            decoded = outcomes.decode_lines(block)
            bodies = [row.response.body for row in decoded]
            all_bodies = b" ".join(bodies)
            known = outcomes.decode_bodies(all_bodies)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        usages = [body.usage for body in known if body.usage is not None]
        if not len(decoded) == len(known) == len(usages) or b"\n" in all_bodies:  # a row is one line
            return False
        spent = [usage.prompt_tokens or usage.input_tokens for usage in usages]
        made = [usage.completion_tokens or usage.output_tokens for usage in usages]
        ends = [self._ends.get(body.model) or self._end_with(body.model) for body in known]
        endings = [
            f',"error":null,"usage":{{"input_tokens":{tokens},"output_tokens":{more}}},"model":{end}'.encode()
            for tokens, more, end in zip(spent, made, ends, strict=True)
        ]
        arrivals.custom_ids += [row.custom_id for row in decoded]
        arrivals.tails += map(b"".join, zip(repeat(_SUCCEEDED), bodies, endings))
        arrivals.spent += spent
        arrivals.made += made
        return True

    def _end_with(self, model: str | None) -> str:
        """Everything of a row that follows from its model."""
        return self._ends.setdefault(model, outcomes.encode(model).decode() + self._end)
