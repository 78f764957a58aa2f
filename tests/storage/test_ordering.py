"""Rows come in any order and go out in theirs, in bounded memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from airflow_batch_provider.storage.blocks import BlockWriter
from airflow_batch_provider.storage.ordering import OrderedRows

Rows = list[tuple[int, bytes]]
Kept = list[bytes | int | None]


@pytest.fixture
def shuffled() -> Rows:
    rows = [(number, b"%d %s\n" % (number, b"x" * (number % 50))) for number in range(2500)]
    random.Random(1).shuffle(rows)
    return rows


def put(kept: Kept, rows: OrderedRows, found: Rows) -> None:
    for position, row in found:
        kept[position] = row
    rows.grow(sum(len(row) for _, row in found))


def written(rows: OrderedRows, path: Path) -> bytes:
    with path.open("wb") as stream:
        rows.write_to(BlockWriter(stream))
    return path.read_bytes()


@pytest.mark.parametrize("max_bytes", [pytest.param(1 << 30, id="in-memory"), pytest.param(5000, id="spilled")])
def test_rows_come_out_in_order(tmp_path: Path, shuffled: Rows, max_bytes: int) -> None:
    """In memory or through local files, and memory holds no more than the limit."""
    kept: Kept = [None] * len(shuffled)
    with OrderedRows(kept, max_bytes) as rows:
        for start in range(0, len(shuffled), 100):
            put(kept, rows, shuffled[start : start + 100])
            assert sum(len(row) for row in kept if isinstance(row, bytes)) <= max_bytes

        assert written(rows, tmp_path / "out") == b"".join(row for _, row in sorted(shuffled))


def test_rows_that_are_taken_back_and_come_again_are_the_last(tmp_path: Path, shuffled: Rows) -> None:
    """A download that broke off after rows went to a file leaves nothing of them: what came the second time counts."""
    kept: Kept = [None] * len(shuffled)
    with OrderedRows(kept, 5000) as rows:
        for start in range(0, 2000, 100):
            put(kept, rows, [(position, b"old" + row) for position, row in shuffled[start : start + 100]])
            if start == 900:
                first = kept.copy()
        for position, before in enumerate(first):
            if before is None:
                kept[position] = None
        for start in range(1000, 2500, 100):
            put(kept, rows, shuffled[start : start + 100])
        put(kept, rows, [])

        expected = dict(shuffled) | {position: b"old" + row for position, row in shuffled[:1000]}
        assert written(rows, tmp_path / "out") == b"".join(row for _, row in sorted(expected.items()))


def test_a_row_that_was_never_put_is_noticed(tmp_path: Path) -> None:
    """A hole is a bug of ours and never a shorter file."""
    with OrderedRows([b"x\n", None], 100) as rows, pytest.raises(RuntimeError, match="never written"):
        written(rows, tmp_path / "out")
