"""Result lines that are plain successes, as nearly all are: taken many at a time, step by step over all of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from typing import Generic, TypeVar

import msgspec

from airflow_batch_provider.core import outcomes

_SUCCEEDED = b',"outcome":"succeeded","response":'
# More different values than this are written anew each time, so that memory stays bounded.
MAX_REMEMBERED = 20_000

K = TypeVar("K")


@dataclass(slots=True)
class Arrivals:
    """
    Successes that wait to be put in their places.

    :param custom_ids: Whose they are.
    :param tails: Their rows without the heads.
    :param spent: Tokens of input.
    :param made: Tokens of output.
    :param bytes: How many bytes ``tails`` have.
    """

    custom_ids: list[str] = field(default_factory=list)
    tails: list[bytes] = field(default_factory=list)
    spent: array[int] = field(default_factory=lambda: array("q"))
    made: array[int] = field(default_factory=lambda: array("q"))
    bytes: int = 0


class PlainLines:
    """
    Makes rows of plain successes. Every row of every run comes through here.

    :param round_number: The round that decides.
    :param batch_id_json: The batch as JSON.
    """

    def __init__(self, round_number: int, batch_id_json: bytes) -> None:
        end = b',"round":%d,"batch_id":%b}\n' % (round_number, batch_id_json)
        self._spent = _Written[int](b',"error":null,"usage":{"input_tokens":%d'.__mod__)
        self._made = _Written[int](b',"output_tokens":%d}'.__mod__)
        self._ends = _Written[str | None](lambda model: b',"model":%b%b' % (outcomes.encode(model), end))

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
        try:  # arrays: many numbers that are objects of their own take longer to add up and to let go of
            spent = array("q", [usage.prompt_tokens or usage.input_tokens for usage in usages])
            made = array("q", [usage.completion_tokens or usage.output_tokens for usage in usages])
        except OverflowError:
            return False
        parts = zip(
            repeat(_SUCCEEDED),
            bodies,
            map(self._spent.__getitem__, spent),
            map(self._made.__getitem__, made),
            map(self._ends.__getitem__, [body.model for body in known]),
            strict=False,
        )
        tails = list(map(b"".join, parts))
        arrivals.tails += tails
        arrivals.bytes += sum(map(len, tails))
        arrivals.custom_ids += [row.custom_id for row in decoded]
        arrivals.spent += spent
        arrivals.made += made
        return True


class _Written(dict[K, bytes], Generic[K]):
    """
    How values are written. The same numbers and models come again and again, and looking them up is quicker.

    :param write: Writes a value.
    """

    def __init__(self, write: Callable[[K], bytes]) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, value: K) -> bytes:
        written = self._write(value)
        if len(self) < MAX_REMEMBERED:
            self[value] = written
        return written
