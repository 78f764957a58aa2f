"""Finding numbers that occur twice among millions, in bounded memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_batch_provider.storage import duplicates
from airflow_batch_provider.storage.duplicates import DuplicateFinder

INT64 = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([-(1 << 63), (1 << 63) - 1, 0, -1])
NUMBERS = INT64 | st.integers(0, 7)


@settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(NUMBERS, max_size=12), max_size=8), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_repeats_are_counted_and_the_first_of_them_found(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], run_size: int, buckets: int, most: int
) -> None:
    """In whatever portions they came, and whether or not they went through files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "RUN_NUMBERS", run_size)
        patch.setattr(duplicates, "BUCKETS", buckets)
        finder = DuplicateFinder(tmp_path_factory.mktemp("hashes"))
        for part in parts:
            finder.add(part)
        count, found = finder.find(most)

    numbers = [number for part in parts for number in part]
    repeats = [number for place, number in enumerate(numbers) if number in numbers[:place]]
    assert count == len(repeats)
    assert set(repeats[:most]) <= found <= set(repeats)


def test_millions_are_kept_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds one run of numbers, the files hold the rest; a number from the first run is found in the last."""
    run = 20_000
    monkeypatch.setattr(duplicates, "RUN_NUMBERS", run)
    dice = random.Random(1)
    finder = DuplicateFinder(tmp_path)
    first = dice.getrandbits(63)
    finder.add([first])
    for _ in range(3):
        finder.add([dice.getrandbits(64) - (1 << 63) for _ in range(run)])
    finder.add([first])

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) >= 8 * 3 * run
    assert max(sizes) < sum(sizes) / 20  # hashes spread evenly, so that one file at a time is a small part
    assert finder.find(10) == (1, {first})


def test_few_numbers_touch_no_file(tmp_path: Path) -> None:
    """A small input is compared in memory."""
    finder = DuplicateFinder(tmp_path)
    finder.add([1, 2])
    finder.add([2])

    assert finder.find(10) == (1, {2})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run", [pytest.param(1000, id="files"), pytest.param(1 << 20, id="memory")])
def test_what_is_found_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int) -> None:
    """An input of nothing but duplicates is counted to the last, and told by few of them, the first ones."""
    monkeypatch.setattr(duplicates, "RUN_NUMBERS", run)
    finder = DuplicateFinder(tmp_path)
    numbers = random.Random(2).sample(range(1 << 40), 5000)
    for _ in range(3):
        finder.add(numbers)
    count, found = finder.find(10)

    assert count == 10_000
    assert set(numbers[:10]) <= found
    assert len(found) <= 10 * duplicates.BUCKETS
