"""Finding numbers that occur twice among millions, in bounded memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from itertools import islice
from pathlib import Path

RUN_NUMBERS = 1 << 19
BUCKETS = 64
MAX_FOUND = 1000


class DuplicateFinder:
    """
    Takes numbers, a few or many millions, and tells which came twice.

    Numbers are sorted into buckets by their last bits, so that equal ones meet in one bucket; beyond the first run they
    go to a file per bucket, of which one at a time is read back.

    :param folder: A local folder for the bucket files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets: list[array[int]] = [array("q") for _ in range(BUCKETS)]
        self._held = 0
        self._has_spilled = False

    def add(self, numbers: Collection[int]) -> None:
        """
        Take in numbers.

        :param numbers: Integers of at most 64 bits.
        """
        add_to = [bucket.append for bucket in self._buckets]
        for number in numbers:
            add_to[number % BUCKETS](number)
        self._held += len(numbers)
        if self._held >= RUN_NUMBERS:
            self._spill()

    def find(self) -> set[int]:
        """Return numbers that came more than once, a thousand of them at most."""
        found: set[int] = set()
        for number, bucket in enumerate(self._buckets):
            if self._has_spilled and self._path(number).exists():
                bucket.frombytes(self._path(number).read_bytes())
            found |= _repeated(bucket)
            del bucket[:]
            if len(found) >= MAX_FOUND:
                break
        return set(islice(found, MAX_FOUND))

    def _spill(self) -> None:
        self._held, self._has_spilled = 0, True
        for number, bucket in enumerate(self._buckets):
            if bucket:
                with self._path(number).open("ab") as file:
                    bucket.tofile(file)
                del bucket[:]

    def _path(self, bucket: int) -> Path:
        return self._folder / f"hashes-{bucket:02d}"


def _repeated(numbers: array[int]) -> set[int]:
    # The usual answer, none, is found without a Python loop.
    if len(set(numbers)) == len(numbers):
        return set()
    return {number for number, count in Counter(numbers).items() if count > 1}
