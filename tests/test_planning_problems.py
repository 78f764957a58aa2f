"""An input with problems is refused as a whole: named by file, line and field, and nothing is left or sent."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider import planning
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths
from tests.core.support import line
from tests.test_planning import Desk, numbered, rows


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def shown(text: str) -> list[str]:
    """Return the problems of a refusal."""
    return [line.removeprefix("  ") for line in text.splitlines() if line.startswith("  ")]


PACKED = gzip.compress(numbered(3000))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PACKED[:-20], id="truncated"),
        pytest.param(PACKED[:-8] + b"\x00" * 8, id="wrong-checksum"),
        pytest.param(PACKED[: len(PACKED) // 2] + b"\xff" * 40 + PACKED[len(PACKED) // 2 + 40 :], id="corrupt"),
        pytest.param(numbered(3), id="not-compressed"),
    ],
)
def test_a_compressed_input_that_is_not_whole_is_refused(desk: Desk, content: bytes) -> None:
    """Sending the part that can be read would lose rows silently."""
    assert "is not a whole gzip file" in desk.problems(desk.put("in.jsonl.gz", content), max_requests=100)


def test_a_storage_that_fails_is_not_a_broken_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection lost while reading a compressed file may be there at the next try: it stays what it is."""
    source = desk.put("in.jsonl.gz", gzip.compress(numbered(3)))

    def lost(stream: Any, **_: Any) -> Any:
        raise ConnectionResetError("storage")

    monkeypatch.setattr(paths, "read_line_blocks", lost)
    with pytest.raises(ConnectionResetError):
        desk.plan(source)


def test_problems_in_several_files_name_file_and_line(desk: Desk) -> None:
    """Line numbers are those of each file."""
    desk.put("a.jsonl", rows("a1") + b"oops\n")
    desk.put("b.jsonl", rows("b1", "a1"))
    text = desk.problems(str(desk.root / "in"))

    assert "a.jsonl (and 1 more file) has 2 problems in 4 lines; nothing was sent." in text
    assert "line 2: not JSON (invalid character at column 1) (in a.jsonl)" in text
    assert 'line 2: custom_id "a1" was already used in line 1 of a.jsonl (in b.jsonl)' in text


def test_files_of_one_name_are_told_apart(desk: Desk) -> None:
    """By the folders that they do not share."""
    for number in (1, 2):
        folder = desk.root / "in" / f"dt={number}"
        folder.mkdir(parents=True)
        (folder / "part-0.jsonl").write_bytes(rows("a") + b"oops\n" * (number - 1))
    text = desk.problems(str(desk.root / "in" / "dt=*" / "*.jsonl"))

    assert text.startswith("dt=1/part-0.jsonl (and 1 more file) has 2 problems in 3 lines")
    assert shown(text) == [
        'line 1: custom_id "a" was already used in line 1 of dt=1/part-0.jsonl (in dt=2/part-0.jsonl)',
        "line 2: not JSON (invalid character at column 1) (in dt=2/part-0.jsonl)",
    ]


@pytest.mark.parametrize(
    ("count", "name"),
    [(1, "0.jsonl"), (2, "0.jsonl (and 1 more file)"), (3, "0.jsonl (and 2 more files)")],
)
def test_an_input_is_named_by_its_first_file(desk: Desk, count: int, name: str) -> None:
    """And by how many more there are."""
    for number in range(count):
        desk.put(f"{number}.jsonl", b"oops\n")

    assert desk.problems(str(desk.root / "in")).startswith(f"{name} has {count} problem")


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_input_without_requests_is_refused(desk: Desk, content: bytes) -> None:
    """Nothing to send is a mistake upstream."""
    assert "no requests in it" in desk.problems(desk.put("in.jsonl", content))


def test_a_problem_at_the_end_leaves_no_shard(desk: Desk) -> None:
    """Shards that were whole when the problem was found go too."""
    text = desk.problems(desk.put("in.jsonl", numbered(25) + b"oops\n"), max_requests=10)

    assert text.startswith("in.jsonl has 1 problem in 26 lines; nothing was sent.\n  line 26: not JSON")


def test_more_batches_than_there_are_files_for_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a group has open at a time, in any round, decides by the process's own limit, and nothing is sent."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (planning.OTHER_FILES + 36, 1000))
    lines = [line(f"row-{number}", body={"model": f"m{number}"}) for number in range(13)]

    assert len(desk.plan(desk.put("in.jsonl", b"".join(lines[:12])), one_model=True)) == 12
    text = desk.problems(desk.put("in.jsonl", b"".join(lines)), one_model=True)
    assert "line 13: its batch would be one too many: an input may have 12 pairs" in text


def test_shards_that_a_journal_counts_on_are_left(desk: Desk) -> None:
    """A try that fails to plan must not take the files of another try that planned."""
    pieces = desk.plan(desk.put("in.jsonl", numbered(5)), max_requests=2)
    desk.folder.save_json(desk.folder.journal, {})
    with pytest.raises(InputError):
        desk.plan(desk.put("in.jsonl", numbered(5) + b"oops\n"), max_requests=2)

    assert b"".join(map(desk.content, pieces)) == numbered(5)


def test_a_full_disk_leaves_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of a shard nor what is being written aside."""
    source = desk.put("in.jsonl", numbered(5))

    def full(self: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airflow_batch_provider.storage.shard_writer.BlockWriter.flush", full)
    with pytest.raises(OSError, match="No space"):
        desk.plan(source, max_requests=2)

    assert desk.written() == []


def test_a_request_over_the_limit_is_named(desk: Desk) -> None:
    """By its line: it fits no batch, so nothing is sent."""
    big = line("big", body={"t": "x" * 1000})
    text = desk.problems(desk.put("in.jsonl", rows("a") + big + rows("b")), max_bytes=800)

    assert f"line 2: {len(big):,} bytes, but the service takes 800 in a whole batch" in text


def test_a_line_without_end_is_named_before_it_fills_the_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is one long line is refused after the limit, with the line's number."""
    monkeypatch.setattr(paths, "CHUNK_BYTES", 1 << 10)
    text = desk.problems(desk.put("in.jsonl", rows("a", "b") + b"x" * 100_000), max_bytes=5000)

    assert "Line 3 of " in text
    assert "is longer than 5,000 bytes" in text
