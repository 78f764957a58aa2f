"""Finding numbers that occur twice among millions, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

RUN_NUMBERS = 1 << 19
BUCKETS = 64


class Repeats(NamedTuple):
    """
    What came more than once.

    :param total: How often a number came that had come before.
    :param numbers: Such numbers: those of the first repeats, in the order in which they came, and perhaps others.
    """

    total: int
    numbers: set[int]


class DuplicateFinder:
    """
    Takes numbers, a few or many millions, and tells which came twice.

    Numbers are sorted into buckets by their last bits, so that equal ones meet in one bucket, where they keep their
    order; beyond the first run they go to a file per bucket, of which one at a time is read back.

    :param folder: A local folder for the bucket files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets: list[array[int]] = [array("q") for _ in range(BUCKETS)]
        self._add_to = [bucket.append for bucket in self._buckets]
        self._held = 0
        self._has_spilled = False

    def add(self, numbers: Collection[int]) -> None:
        """
        Take in numbers.

        :param numbers: Integers of at most 64 bits.
        """
        add_to = self._add_to
        for number in numbers:
            add_to[number % BUCKETS](number)
        self._held += len(numbers)
        if self._held >= RUN_NUMBERS:
            self._spill()

    def find(self, most: int) -> Repeats:
        """
        Compare all numbers that were taken in.

        :param most: Of how many repeats the numbers are wanted.
        """
        total = 0
        numbers: set[int] = set()
        for bucket in range(BUCKETS):
            held = self._take_out(bucket)
            # The usual answer, none, is found without a Python loop.
            if repeats := len(held) - len(set(held)):
                total += repeats
                # Buckets do not know of each other: each gives as many as may be wanted.
                numbers.update(islice(_repeats(held), most))
        return Repeats(total, numbers)

    def _take_out(self, bucket: int) -> array[int]:
        """Take out a bucket's numbers, in the order in which they came: first those of its file."""
        held: array[int] = array("q")
        if self._has_spilled and self._path(bucket).exists():
            held.frombytes(self._path(bucket).read_bytes())
        held.extend(self._buckets[bucket])
        del self._buckets[bucket][:]
        return held

    def _spill(self) -> None:
        self._held, self._has_spilled = 0, True
        for number, bucket in enumerate(self._buckets):
            if bucket:
                with self._path(number).open("ab") as file:
                    bucket.tofile(file)
                del bucket[:]

    def _path(self, bucket: int) -> Path:
        return self._folder / f"hashes-{bucket:02d}"


def _repeats(numbers: Iterable[int]) -> Iterator[int]:
    seen: set[int] = set()
    for number in numbers:
        if number in seen:
            yield number
        seen.add(number)
