"""Finding numbers that occur twice among millions, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

RUN_NUMBERS = 1 << 17
BUCKETS = 64
MAX_FOUND = 1000


class DuplicateFinder:
    """
    Takes numbers, a few or many millions, and tells which came twice.

    Beyond the first run, numbers go to bucket files by their last bits; one file at a time is read back.

    :param folder: A local folder for the bucket files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: list[int] = []
        self._has_spilled = False

    def add(self, numbers: Iterable[int]) -> None:
        """
        Take in numbers.

        :param numbers: Integers of at most 64 bits.
        """
        self._run.extend(numbers)
        if len(self._run) >= RUN_NUMBERS:
            self._spill()

    def find(self) -> set[int]:
        """Return numbers that came more than once, a thousand of them at most."""
        if not self._has_spilled:
            return set(islice(_repeated(self._run), MAX_FOUND))
        self._spill()
        found: set[int] = set()
        for bucket in range(BUCKETS):
            path = self._path(bucket)
            if path.exists() and len(found) < MAX_FOUND:
                numbers = array("q")
                numbers.frombytes(path.read_bytes())
                found |= _repeated(numbers)
        return set(islice(found, MAX_FOUND))

    def _spill(self) -> None:
        run, self._run, self._has_spilled = self._run, [], True
        buckets: list[list[int]] = [[] for _ in range(BUCKETS)]
        for number in run:
            buckets[number % BUCKETS].append(number)
        for bucket, numbers in enumerate(buckets):
            if numbers:
                with self._path(bucket).open("ab") as file:
                    array("q", numbers).tofile(file)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"hashes-{bucket:02d}"


def _repeated(numbers: Sequence[int]) -> set[int]:
    # The usual answer, none, is found without a Python loop.
    seen: set[int] = set(numbers)
    if len(seen) == len(numbers):
        return set()
    return {number for number in numbers if number not in seen or seen.remove(number)}
