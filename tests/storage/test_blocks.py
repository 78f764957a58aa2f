"""Our own files in blocks: read, written, copied."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import blocks, paths
from airflow_batch_provider.storage.blocks import BlockWriter, FilePart, copy_into, local_twin, read_blocks


def test_blocks_join_to_the_file(tmp_path: Path) -> None:
    """Lines are split at line feeds alone."""
    content = "a\u2028b\u0085c\rd\n\ne\n".encode()
    (tmp_path / "x").write_bytes(content)

    found = [each for block in read_blocks(str(tmp_path / "x")) for each in block]

    assert found == ["a\u2028b\u0085c\rd\n".encode(), b"\n", b"e\n"]


def test_small_writes_become_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """On object stores each write costs: nothing goes out before a block is full, and all of it in the end."""
    monkeypatch.setattr(blocks, "WRITE_BYTES", 10)
    written: list[bytes] = []

    class Stream(io.BytesIO):
        def write(self, data: object) -> int:
            written.append(bytes(data))  # type: ignore[call-overload]
            return 0

    writer = BlockWriter(Stream())
    for _ in range(5):
        writer.write(b"1234")
    writer.flush()

    assert written == [b"123412341234", b"12341234"]


CONTENT = b"a\nb\n" + b"c" * 100_000 + b"\nd\n"
MIDDLE = slice(2, 4 + 100_001)


@pytest.fixture
def middle(tmp_path: Path) -> FilePart:
    """The middle lines of a file."""
    (tmp_path / "file").write_bytes(CONTENT)
    return FilePart(str(tmp_path / "file"), 2, len(CONTENT[MIDDLE]))


def refused(*_: Any) -> int:
    raise OSError(errno.EXDEV, "not between these")


def once_a_little() -> Any:
    """Make the kernel's copy one that stops after a few bytes, as some file systems do."""
    real = os.copy_file_range
    turns: Iterator[bool] = iter([True, False] * 100)
    return lambda source, target, size, offset: real(source, target, 3, offset) if next(turns) else 0


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(None, id="kernel"),
        pytest.param(refused, id="kernel-refuses"),
        pytest.param(once_a_little(), id="kernel-stops-early"),
    ],
)
def test_a_part_is_copied_behind_what_is_there(
    tmp_path: Path, middle: FilePart, monkeypatch: pytest.MonkeyPatch, kernel: Any
) -> None:
    """Whatever the kernel does of the copying, the target gets the part and nothing else."""
    if kernel:
        monkeypatch.setattr(os, "copy_file_range", kernel)
    with (tmp_path / "all").open("wb") as target:
        target.write(b"first\n")
        assert copy_into(middle, target) == copy_into(middle, target) == middle.bytes
        target.write(b"last\n")

    assert (tmp_path / "all").read_bytes() == b"first\n" + CONTENT[MIDDLE] * 2 + b"last\n"


def test_a_part_is_copied_without_the_kernel(middle: FilePart) -> None:
    """A target that is no local file gets the same."""
    target = io.BytesIO()

    assert copy_into(middle, target) == middle.bytes
    assert target.getvalue() == CONTENT[MIDDLE]


def test_a_part_that_is_cut_off_shows_in_what_was_copied(tmp_path: Path, middle: FilePart) -> None:
    """The caller compares."""
    with (tmp_path / "all").open("wb") as target:
        assert copy_into(middle._replace(bytes=len(CONTENT)), target) == len(CONTENT) - middle.offset


def test_a_part_is_read_line_by_line(middle: FilePart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a byte before or behind it, however the pieces fall."""
    for size in (100, 5000, 1 << 18):
        monkeypatch.setattr(paths, "CHUNK_BYTES", size)
        assert [line for block in read_blocks(middle) for line in block] == [b"b\n", CONTENT[4:-2]]


def test_a_file_that_is_gone_is_named(tmp_path: Path, middle: FilePart) -> None:
    """A missing piece is never a shorter result."""
    Path(middle.path).unlink()
    with (tmp_path / "all").open("wb") as target, pytest.raises(InputError, match=f"There is no file {middle.path}"):
        copy_into(middle, target)


def test_what_is_written_into_a_twin_comes_to_the_stream() -> None:
    """A stream that is no local file gets what others wrote into one, in pieces."""
    target = io.BytesIO()
    with local_twin(target) as name:
        Path(name).write_bytes(CONTENT)

    assert target.getvalue() == CONTENT
    assert not Path(name).exists()
