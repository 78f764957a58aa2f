"""Rows come in any order and go out in theirs, in bounded memory."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from airflow_batch_provider.storage.ordering import OrderedRows

Found = list[tuple[int, bytes]]


class Tails:
    """Rows as a joiner has them: tails by position, those that wait to be settled, and a head for each."""

    def __init__(self, count: int) -> None:
        self.tails: list[bytes | int | None] = [None] * count
        self.waiting: Found = []

    def settle(self) -> None:
        for position, tail in self.waiting:
            self.tails[position] = tail
        self.waiting = []

    def heads(self, start: int, stop: int) -> list[bytes]:
        return [b"%d " % position for position in range(start, stop)]

    def held(self) -> int:
        return sum(len(tail) for tail in self.tails if isinstance(tail, bytes))


@pytest.fixture
def shuffled() -> Found:
    rows = [(number, b"%s\n" % (b"x" * (number % 50))) for number in range(2500)]
    random.Random(1).shuffle(rows)
    return rows


def put(tails: Tails, rows: OrderedRows, found: Found) -> None:
    tails.waiting += found
    rows.grow(sum(len(tail) for _, tail in found))


def written(tails: Tails, rows: OrderedRows, path: Path, room: int) -> bytes:
    tails.settle()
    with path.open("wb") as stream:
        rows.write_to(stream.fileno(), room)
    return path.read_bytes()


def expected(found: Found) -> bytes:
    return b"".join(b"%d %b" % item for item in sorted(found))


@pytest.mark.parametrize("max_bytes", [pytest.param(1 << 30, id="in-memory"), pytest.param(5000, id="spilled")])
def test_rows_come_out_in_order(tmp_path: Path, shuffled: Found, max_bytes: int) -> None:
    """In memory or through local files, and memory holds no more than the limit."""
    tails = Tails(len(shuffled))
    rows = OrderedRows(tails, max_bytes)
    for start in range(0, len(shuffled), 100):
        put(tails, rows, shuffled[start : start + 100])
        assert tails.held() + sum(len(tail) for _, tail in tails.waiting) <= max_bytes

    wanted = expected(shuffled)
    assert written(tails, rows, tmp_path / "out", len(wanted)) == wanted
    rows.close()


def test_rows_that_are_taken_back_and_come_again_are_the_last(tmp_path: Path, shuffled: Found) -> None:
    """A download that broke off after rows went to a file leaves nothing of them: what came the second time counts."""
    tails = Tails(len(shuffled))
    rows = OrderedRows(tails, 5000)
    put(tails, rows, [(position, b"old" + tail) for position, tail in shuffled[:1000]])
    tails.settle()
    first = tails.tails.copy()
    put(tails, rows, [(position, b"broken" + tail) for position, tail in shuffled[1000:2000]])
    tails.settle()
    for position, before in enumerate(first):
        if before is None:
            tails.tails[position] = None
    for start in range(1000, 2500, 100):
        put(tails, rows, shuffled[start : start + 100])
    put(tails, rows, [])

    last = dict(shuffled) | {position: b"old" + tail for position, tail in shuffled[:1000]}
    wanted = expected(list(last.items()))
    assert written(tails, rows, tmp_path / "out", len(wanted)) == wanted
    rows.close()


def test_a_row_that_was_never_put_is_noticed(tmp_path: Path) -> None:
    """A hole is a bug of ours and never a shorter file."""
    tails = Tails(2)
    tails.waiting = [(0, b"x\n")]

    with pytest.raises(RuntimeError, match="never written"):
        written(tails, OrderedRows(tails, 100), tmp_path / "out", 5)


def test_a_disk_that_takes_little_at_a_time_gets_everything(
    tmp_path: Path, shuffled: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may write a part of what it is given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda target, data: real(target, data[:7]))
    tails = Tails(len(shuffled))
    tails.waiting = shuffled

    wanted = expected(shuffled)
    assert written(tails, OrderedRows(tails, 1 << 30), tmp_path / "out", len(wanted)) == wanted


@pytest.mark.parametrize("wrong", [-1, 1])
def test_the_rows_of_others_are_not_written_over(tmp_path: Path, shuffled: Found, wrong: int) -> None:
    """Rows that are more, or fewer, than was said are a bug of ours; it costs this piece's landing, and no other's rows."""
    tails = Tails(len(shuffled))
    tails.waiting = shuffled
    room = len(expected(shuffled)) + wrong

    with pytest.raises(RuntimeError, match="Please report"):
        written(tails, OrderedRows(tails, 1 << 30), tmp_path / "out", room)
    assert (tmp_path / "out").stat().st_size <= room
