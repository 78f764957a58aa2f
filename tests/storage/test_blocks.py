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
from airflow_batch_provider.storage.blocks import BlockWriter, concatenate, read_blocks


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


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Files of whole lines, an empty one among them."""
    contents = [b"a\nb\n", b"", b"c" * 100_000 + b"\n", b"d\n"]
    found = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(found, contents, strict=True):
        path.write_bytes(content)
    return found


def refused(*_: Any) -> int:
    raise OSError(errno.EXDEV, "not between these")


def once_a_little() -> Any:
    """Make the kernel's copy one that stops after a few bytes of each file, as some file systems do."""
    real = os.copy_file_range
    turns: Iterator[bool] = iter([True, False] * 100)
    return lambda source, target, size: real(source, target, 3) if next(turns) else 0


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(None, id="kernel"),
        pytest.param(refused, id="kernel-refuses"),
        pytest.param(once_a_little(), id="kernel-stops-early"),
    ],
)
def test_files_are_copied_whole_and_counted(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, kernel: Any
) -> None:
    """Whatever the kernel does of the copying, the target is all files one behind the other."""
    if kernel:
        monkeypatch.setattr(os, "copy_file_range", kernel)
    with (tmp_path / "all").open("wb") as target:
        count = concatenate([paths.as_path(str(path)) for path in parts], target)

    assert count == 4
    assert (tmp_path / "all").read_bytes() == b"".join(path.read_bytes() for path in parts)


def test_files_are_copied_without_the_kernel(parts: list[Path]) -> None:
    """A target that is no local file gets the same."""
    target = io.BytesIO()

    assert concatenate([paths.as_path(str(path)) for path in parts], target) == 4
    assert target.getvalue() == b"".join(path.read_bytes() for path in parts)


def test_a_file_that_is_gone_is_named(tmp_path: Path, parts: list[Path]) -> None:
    """A missing piece is never a shorter result."""
    parts[2].unlink()
    with (tmp_path / "all").open("wb") as target, pytest.raises(InputError, match=f"There is no file {parts[2]}"):
        concatenate([paths.as_path(str(path)) for path in parts], target)
