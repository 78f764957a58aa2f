"""Local files: found or named as missing, read in blocks of lines, written whole or not at all."""

from __future__ import annotations

import gc
import io
from pathlib import Path
from typing import Any

import pytest
from fsspec.spec import AbstractBufferedFile
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, whole_files


class Drip:
    """A stream that gives its pieces one by one, whatever size is asked for."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int = -1, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None: ...


PIECES = st.lists(st.text(alphabet="a\n\r\u2028é ", max_size=12).map(str.encode), max_size=8)


@given(PIECES)
def test_lines_are_the_same_however_the_stream_is_cut(pieces: list[bytes]) -> None:
    """Only \\n ends a line, and cuts inside or between lines change nothing."""
    whole = b"".join(pieces)
    lines = [line for block in paths.read_line_blocks(Drip(pieces), max_line_bytes=1000) for line in block]
    expected = [line + b"\n" for line in whole.split(b"\n")[:-1]]
    rest = whole.split(b"\n")[-1]
    assert lines == expected + ([rest] if rest else [])


@given(PIECES, st.integers(min_value=1, max_value=9))
def test_a_cleaned_stream_is_the_same_however_it_is_read(pieces: list[bytes], size: int) -> None:
    """Cleaning depends on the content, not on the sizes of reads on either side."""
    whole = b"".join(pieces)
    stream = paths.CleanedStream(Drip(pieces), max_line_bytes=1000)
    read = list(iter(lambda: stream.read(size), b""))
    assert all(len(piece) <= size for piece in read)
    assert b"".join(read) == paths.CleanedStream(io.BytesIO(whole), max_line_bytes=1000).read()


def test_a_cleaned_stream_has_neither_mark_nor_carriage_returns_nor_blank_lines() -> None:
    """What services refuse is taken away, and the last line gets its end."""
    dirty = b'\xef\xbb\xbf{"a":1}\r\n\r\n   \n{"b":"\xe2\x80\xa8"}\n\t{"c":3} '
    with paths.CleanedStream(io.BytesIO(dirty), max_line_bytes=1000) as stream:
        assert stream.read() == b'{"a":1}\n{"b":"\xe2\x80\xa8"}\n{"c":3}\n'


@pytest.mark.parametrize("ending", [pytest.param(b"", id="unended"), pytest.param(b"\n", id="ended")])
def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(ending: bytes) -> None:
    """A file without line breaks is given up at the limit, not at its end."""
    stream = io.BytesIO(b"x" * (8 << 20) + ending)
    with pytest.raises(InputError, match="longer than 1,048,576 bytes; nothing was sent"):
        list(paths.read_line_blocks(stream, max_line_bytes=1 << 20))
    assert stream.tell() <= 3 << 20


@pytest.mark.parametrize(
    ("path", "local"),
    [
        pytest.param("rel/x.jsonl", "rel/x.jsonl", id="relative"),
        pytest.param("/data/x.jsonl", "/data/x.jsonl", id="absolute"),
        pytest.param("file:///data/x y.jsonl", "/data/x y.jsonl", id="file-url"),
    ],
)
def test_local_paths_are_local_however_they_are_written(path: str, local: str) -> None:
    """Relative and absolute paths and file URLs lead to this machine's disk."""
    assert paths.local_path(paths.as_path(path)) == Path(local)


@pytest.mark.parametrize(
    ("folder", "joined"),
    [
        pytest.param("out", "out/x", id="relative"),
        pytest.param("/data/out/", "/data/out/x", id="slash"),
        pytest.param("/", "/x", id="root"),
        pytest.param("s3://lake@bucket", "s3://lake@bucket/x", id="bucket"),
        pytest.param("s3://lake@bucket/labels//", "s3://lake@bucket/labels/x", id="two-slashes"),
    ],
)
def test_a_file_in_a_folder_reads_like_the_folder(folder: str, joined: str) -> None:
    """Joining keeps the way the folder was written, connection and all."""
    assert paths.join(folder, "x") == joined


def test_a_path_object_is_taken_as_it_is(tmp_path: Path) -> None:
    """Paths, not only their text, are accepted."""
    found = paths.as_path(tmp_path / "x")
    assert paths.as_path(found) is found
    assert paths.local_path(found) == tmp_path / "x"


@pytest.mark.parametrize("read", [paths.file_size, paths.open_input])
@pytest.mark.parametrize("name", [pytest.param("missing.jsonl", id="missing"), pytest.param("", id="folder")])
def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, read: Any, name: str) -> None:
    """What is not a file is an InputError that names the path."""
    with pytest.raises(InputError, match=f"There is no file {tmp_path / name}; nothing was sent"):
        read(paths.as_path(tmp_path / name))


def test_the_size_of_a_file(tmp_path: Path) -> None:
    """The size is that on disk."""
    (tmp_path / "x").write_bytes(b"12345")
    assert paths.file_size(paths.as_path(tmp_path / "x")) == 5


def write(path: Any, data: bytes, error: type[BaseException] | None = None) -> None:
    with whole_files.WholeFile(path) as stream:
        stream.write(data)
        if error is not None:
            raise error


def test_a_written_file_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    """Missing folders are made, and the file is there only when it is whole."""
    target = tmp_path / "a" / "b" / "out.jsonl"
    with whole_files.WholeFile(paths.as_path(target)) as stream:
        stream.write(b"one\n")
        stream.flush()
        assert not target.exists()
        stream.write(b"two\n")
    assert target.read_bytes() == b"one\ntwo\n"
    assert [path.name for path in target.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_file_whose_writing_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """Neither the file nor a leftover beside it appears, also when the worker is interrupted."""
    with pytest.raises(error):
        write(paths.as_path(tmp_path / "out.jsonl"), b"half", error)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Readers see the old content until they see the new one, and keep the old one after a failure."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write(paths.as_path(target), b"ne", RuntimeError)
    assert target.read_bytes() == b"old"
    with target.open("rb") as reader:
        with whole_files.WholeFile(paths.as_path(target)) as stream:
            stream.write(b"new")
            assert target.read_bytes() == b"old"
        assert target.read_bytes() == b"new"
        assert reader.read() == b"old"


def test_two_attempts_at_one_file_do_not_mix(tmp_path: Path) -> None:
    """Two workers writing the same file each publish a whole one; the later stays."""
    target = paths.as_path(tmp_path / "out.jsonl")
    with whole_files.WholeFile(target) as first:
        first.write(b"first half, ")
        with whole_files.WholeFile(target) as second:
            second.write(b"second")
        assert (tmp_path / "out.jsonl").read_bytes() == b"second"
        first.write(b"first whole")
    assert (tmp_path / "out.jsonl").read_bytes() == b"first half, first whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_cannot_take_its_place_leaves_nothing(tmp_path: Path) -> None:
    """When publishing itself fails, the unfinished file is removed and the failure is raised."""
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        write(paths.as_path(tmp_path / "out.jsonl"), b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


class EagerFile(AbstractBufferedFile):
    """A remote file that publishes whenever its last block is flushed, asked to or not, like adlfs."""

    def __init__(self, *, fails: bool = False, is_stuck: bool = False) -> None:
        super().__init__(fs=None, path="container/x", mode="wb", block_size=8, autocommit=False)
        self.published: list[bytes] = []
        self._parts: list[bytes] = []
        self._fails, self._is_stuck = fails, is_stuck

    def _initiate_upload(self) -> None: ...

    def _upload_chunk(self, final: bool = False) -> bool:
        if self._fails:
            raise ConnectionError("no storage")
        self._parts.append(self.buffer.getvalue())
        if final:
            self.published.append(b"".join(self._parts))
        return True

    def discard(self) -> None:
        if self._is_stuck:
            raise ConnectionError("no storage")


class RemotePath:
    """As much of a path on an object store as writing needs."""

    protocol = "abfs"

    def __init__(self, file: EagerFile) -> None:
        self._file = file

    def open(self, mode: str, **options: Any) -> EagerFile:
        assert (mode, options) == ("wb", {"autocommit": False})
        return self._file


def remote(file: EagerFile) -> Any:
    return RemotePath(file)


@pytest.mark.parametrize(
    "is_stuck", [pytest.param(False, id="discarded"), pytest.param(True, id="cannot-be-discarded")]
)
def test_a_failed_remote_file_is_never_closed(is_stuck: bool) -> None:
    """Some stores publish what they have when a stream closes or is collected; a failed one does neither."""
    file = EagerFile(is_stuck=is_stuck)
    with pytest.raises(ZeroDivisionError):
        write(remote(file), b"more than one block", ZeroDivisionError)
    published = file.published
    del file
    gc.collect()
    assert published == []


def test_a_remote_file_that_cannot_be_finished_is_thrown_away() -> None:
    """When the last block is refused, the failure is raised and nothing is tried again at collection."""
    file = EagerFile(fails=True)
    with pytest.raises(ConnectionError):
        write(remote(file), b"x")
    assert file.closed
    assert file.published == []


def test_a_link_replaces_what_is_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """Once more is the same, also when both names are one file already."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    for _ in range(2):
        assert whole_files.link_whole(str(source), paths.as_path(str(target)))
        assert target.read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_where_there_are_no_links_it_is_said(tmp_path: Path) -> None:
    """Object stores have none, nor has a file that is not there; the caller copies."""
    assert not whole_files.link_whole(str(tmp_path / "source"), paths.as_path("memory://bucket/target"))
    assert not whole_files.link_whole(str(tmp_path / "source"), paths.as_path(str(tmp_path / "target")))
    assert list(tmp_path.iterdir()) == []
