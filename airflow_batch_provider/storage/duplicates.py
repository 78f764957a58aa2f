"""Finding numbers that occur twice among millions, in bounded memory."""

from __future__ import annotations

import operator
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice, pairwise
from pathlib import Path

RUN_NUMBERS = 1 << 17
BUCKETS = 64
# hash() gives 64-bit numbers with a sign.
_BOUNDS = [-(1 << 63) + bucket * ((1 << 64) // BUCKETS) for bucket in range(BUCKETS)]
MAX_FOUND = 1000


class DuplicateFinder:
    """
    Takes numbers, a few or many millions, and tells which came twice.

    Numbers are kept in sorted runs; beyond the first run they go to bucket files, of which one at a time is read back.

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
            return _repeated(sorted(self._run))
        self._spill()
        found: set[int] = set()
        for bucket in range(BUCKETS):
            path = self._path(bucket)
            if path.exists() and len(found) < MAX_FOUND:
                numbers = array("q")
                numbers.frombytes(path.read_bytes())
                found |= _repeated(sorted(numbers))
        return set(islice(found, MAX_FOUND))

    def _spill(self) -> None:
        run, self._run, self._has_spilled = sorted(self._run), [], True
        start = 0
        for bucket in range(BUCKETS):
            end = bisect_left(run, _BOUNDS[bucket + 1]) if bucket + 1 < BUCKETS else len(run)
            if end > start:
                with self._path(bucket).open("ab") as file:
                    array("q", run[start:end]).tofile(file)
            start = end

    def _path(self, bucket: int) -> Path:
        return self._folder / f"hashes-{bucket:02d}"


def _repeated(numbers: list[int]) -> set[int]:
    # The usual answer, none, is found without a Python loop.
    if not any(map(operator.eq, numbers, islice(numbers, 1, None))):
        return set()
    return {number for number, following in pairwise(numbers) if number == following}
