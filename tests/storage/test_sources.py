"""Where requests come from: a file, a folder or a glob, compressed or not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of inputs and of things that are none."""
    (tmp_path / "more.jsonl").mkdir()
    for name in ("b.jsonl", "a.jsonl.gz", "c.ndjson", "d.ndjson.gz", "README.md", "_SUCCESS", "e.json"):
        content = b"{}\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return tmp_path


def names(source: str) -> list[str]:
    return [path.name for path in sources.find_files(source)]


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    """The user named it."""
    assert names(str(folder / "e.json")) == ["e.json"]


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_its_json_lines_files_in_order(folder: Path, end: str) -> None:
    """Other files and folders in it are not looked at."""
    assert names(f"{folder}{end}") == ["a.jsonl.gz", "b.jsonl", "c.ndjson", "d.ndjson.gz"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("*.jsonl", ["b.jsonl"], id="star"),
        pytest.param("?.ndjson*", ["c.ndjson", "d.ndjson.gz"], id="question-mark"),
        pytest.param("[ab].*", ["a.jsonl.gz", "b.jsonl"], id="set"),
    ],
)
def test_a_glob_is_the_files_that_match(folder: Path, pattern: str, found: list[str]) -> None:
    """In the order of their names."""
    assert names(str(folder / pattern)) == found


@pytest.mark.parametrize("name", ["a[b].jsonl", "what?.jsonl", "all*.jsonl"])
def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path, name: str) -> None:
    """The user named it, and what is there is meant; others that would match are not read."""
    for each in (name, "ab.jsonl", "whats.jsonl", "all of them.jsonl"):
        (tmp_path / each).write_bytes(b"{}\n")

    assert names(str(tmp_path / name)) == [name]


@pytest.mark.parametrize("source", ["missing.jsonl", "*.csv", "empty", "empty/", "nowhere/in.jsonl"])
def test_no_input_is_an_error_that_names_the_place(tmp_path: Path, source: str) -> None:
    """Nothing to send is never a success."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no JSON lines file at .*nothing was sent") as error:
        sources.find_files(str(tmp_path / source))
    assert source.rstrip("/") in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "b.jsonl"])
def test_lines_come_decompressed(folder: Path, name: str) -> None:
    """A reader does not see whether a file was compressed."""
    with sources.open_lines(sources.find_files(str(folder / name))[0]) as stream:
        assert stream.read() == b"{}\n"


def fingerprint(folder: Path, parameters: object = None) -> str:
    return sources.fingerprint(sources.find_files(str(folder)), parameters)


def test_the_fingerprint_of_an_untouched_input_stays(folder: Path) -> None:
    """Looking twice is no change."""
    assert fingerprint(folder, ["p", 1]) == fingerprint(folder, ["p", 1])


def test_every_change_of_the_input_changes_the_fingerprint(folder: Path) -> None:
    """Size, time, names, number of files and parameters all count."""
    seen = {fingerprint(folder), fingerprint(folder, ["p"])}
    (folder / "b.jsonl").write_bytes(b"{ }\n")
    seen.add(fingerprint(folder))
    os.utime(folder / "b.jsonl", (1, 1))
    seen.add(fingerprint(folder))
    (folder / "b.jsonl").rename(folder / "z.jsonl")
    seen.add(fingerprint(folder))
    (folder / "z.jsonl").unlink()
    seen.add(fingerprint(folder))
    assert len(seen) == 6
