from __future__ import annotations

from pathlib import Path

import pytest

from airflow_batch_provider.sandbox.lines import TICK_EVERY, LineTooLongError, read_lines


def test_lines_end_with_lf_and_nothing_else(tmp_path: Path) -> None:
    """CR, U+2028 and U+0085 are content; the last line needs no end."""
    path = tmp_path / "in"
    path.write_bytes("a\rb\u2028c\u0085d\nlast".encode())

    assert list(read_lines(path, max_bytes=100, tick=lambda: None)) == [
        (1, "a\rb\u2028c\u0085d\n".encode()),
        (2, b"last"),
    ]


def test_long_lines_are_refused(tmp_path: Path) -> None:
    """A line over the limit is named by its number."""
    path = tmp_path / "in"
    path.write_bytes(b"ok\n" + b"x" * 11)

    with pytest.raises(LineTooLongError) as caught:
        list(read_lines(path, max_bytes=10, tick=lambda: None))

    assert caught.value.line_number == 2


def test_work_can_be_stopped_between_lines(tmp_path: Path) -> None:
    """The tick is called every few lines, and what it raises ends the reading."""
    path = tmp_path / "in"
    path.write_bytes(b"x\n" * (2 * TICK_EVERY))
    ticks: list[None] = []
    list(read_lines(path, max_bytes=10, tick=lambda: ticks.append(None)))

    assert len(ticks) == 2
