"""Reading the lines of an input file: split on LF only, one at a time, none longer than the limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

TICK_EVERY = 64


class LineTooLongError(Exception):
    """A line is longer than a sandbox is willing to hold in memory."""

    def __init__(self, line_number: int = 0) -> None:
        super().__init__(f"Line {line_number} is too long.")
        self.line_number = line_number


def read_lines(path: Path, *, max_bytes: int, tick: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    """
    Yield each line with its number, counted from 1.

    :param path: The file.
    :param max_bytes: The longest line.
    :param tick: Called every few lines; it may raise to stop the work.
    :raises LineTooLongError: a line is longer than that.
    """
    with path.open("rb", buffering=256 * 1024) as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            if len(line) > max_bytes:
                raise LineTooLongError(number)
            if number % TICK_EVERY == 0:
                tick()
            yield number, line
