"""Reading an input once and writing it as shard files: all of it, checked, or none of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.planning import plan_input, plan_round
from airflow_batch_provider.storage import duplicates, paths, sources
from airflow_batch_provider.storage.shards import RunFolder
from tests.core.support import CHAT, line

EMBEDDINGS = "/v1/embeddings"


class Desk:
    """A folder with an input and an output."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = RunFolder(str(root / "out"))

    def put(self, name: str, content: bytes) -> str:
        path = self.root / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def plan(self, source: str, endpoint: str | None = None, **limits: Any) -> list[Piece]:
        return plan_input(sources.find_files(source), self.folder, BatchLimits(**limits), endpoint)

    def problems(self, source: str, endpoint: str | None = None, **limits: Any) -> str:
        """The text of the refusal; nothing is left in the output."""
        with pytest.raises(InputError) as refused:
            self.plan(source, endpoint, **limits)
        assert self.written() == []
        return str(refused.value)

    def shards(self, pieces: Sequence[Piece]) -> list[list[str]]:
        return [self.folder.custom_ids(piece) for piece in pieces]

    def content(self, piece: Piece) -> bytes:
        return Path(self.folder.shard(piece)).read_bytes()

    def written(self) -> list[str]:
        return sorted(path.name for path in Path(self.folder.output).rglob("*") if path.is_file())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def rows(*names: str, **changes: Any) -> bytes:
    return b"".join(line(name, **changes) for name in names)


def numbered(count: int) -> bytes:
    return rows(*(f"row-{number}" for number in range(count)))


def test_shards_one_after_the_other_are_the_input(desk: Desk) -> None:
    """An input without faults is cut, not changed, and counted."""
    pieces = desk.plan(desk.put("in.jsonl", numbered(25)), max_requests=10)

    assert b"".join(map(desk.content, pieces)) == numbered(25)
    assert [(piece.number, piece.round, piece.requests, piece.first_index) for piece in pieces] == [
        (0, 0, 10, 0), (1, 0, 10, 10), (2, 0, 5, 20),
    ]  # fmt: skip
    assert [piece.bytes for piece in pieces] == [len(desk.content(piece)) for piece in pieces]
    assert desk.written() == ["0-00000.jsonl", "0-00001.jsonl", "0-00002.jsonl"]


@pytest.mark.parametrize(
    "dirty",
    [
        pytest.param(b"\xef\xbb\xbf" + rows("a", "b"), id="bom"),
        pytest.param(rows("a", "b").replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(b"\n\r\n" + rows("a") + b"  \n\n" + rows("b") + b"\n \n", id="blank-lines"),
        pytest.param(rows("a", "b").rstrip(b"\n"), id="no-last-line-break"),
    ],
)
def test_shards_are_clean(desk: Desk, dirty: bytes) -> None:
    """Marks and line ends of editors do not reach the service."""
    (piece,) = desk.plan(desk.put("in.jsonl", dirty))

    assert desk.content(piece) == rows("a", "b")


def test_line_separators_inside_requests_are_ordinary(desk: Desk) -> None:
    """U+2028 and U+0085 are characters of a prompt, written as they came."""
    content = '{"custom_id":"a","method":"POST","url":"/v1/x","body":{"t":"1\u20282\u00853"}}\n'.encode()
    (piece,) = desk.plan(desk.put("in.jsonl", content))

    assert (piece.requests, desk.content(piece)) == (1, content)


def test_a_compressed_input_is_the_same_input(desk: Desk) -> None:
    """Also when it was compressed in parts."""
    packed = gzip.compress(numbered(3)) + gzip.compress(rows("x"))
    (piece,) = desk.plan(desk.put("in.jsonl.gz", packed))

    assert desk.content(piece) == numbered(3) + rows("x")


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


@pytest.mark.parametrize("pattern", ["", "/", "/*.jsonl*"])
def test_files_of_a_folder_are_one_input(desk: Desk, pattern: str) -> None:
    """In the order of their names, positions counted through, the mark at the beginning of each taken off."""
    desk.put("b.jsonl", rows("b1", "b2").rstrip())
    desk.put("a.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + rows("a1")))
    desk.put("c.jsonl", b"\xef\xbb\xbf" + rows("c1"))
    pieces = desk.plan(str(desk.root / "in") + pattern, max_requests=3)

    assert b"".join(map(desk.content, pieces)) == rows("a1", "b1", "b2", "c1")
    assert [piece.first_index for piece in pieces] == [0, 3]


def test_problems_in_several_files_name_file_and_line(desk: Desk) -> None:
    """Line numbers are those of each file."""
    desk.put("a.jsonl", rows("a1") + b"oops\n")
    desk.put("b.jsonl", rows("b1", "a1"))
    text = desk.problems(str(desk.root / "in"))

    assert "a.jsonl and 1 more files has 2 problems in 4 lines; nothing was sent." in text
    assert "line 2: not JSON (invalid character at column 1) (in a.jsonl)" in text
    assert 'line 2: custom_id "a1" was already used in line 1 of a.jsonl (in b.jsonl)' in text


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_input_without_requests_is_refused(desk: Desk, content: bytes) -> None:
    """Nothing to send is a mistake upstream."""
    assert "no requests in it" in desk.problems(desk.put("in.jsonl", content))


def test_a_problem_at_the_end_leaves_no_shard(desk: Desk) -> None:
    """Shards that were whole when the problem was found go too."""
    text = desk.problems(desk.put("in.jsonl", numbered(25) + b"oops\n"), max_requests=10)

    assert text.startswith("in.jsonl has 1 problem in 26 lines; nothing was sent.\n  line 26: not JSON")


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

    monkeypatch.setattr("airflow_batch_provider.planning.BlockWriter.flush", full)
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


def test_missing_custom_ids_are_assigned_for_good(desk: Desk) -> None:
    """The shard has them, so that results and failures have them too; positions count through files."""
    desk.put("a.jsonl", line("mine") + line(None))
    desk.put("b.jsonl", line(None))

    assert desk.shards(desk.plan(str(desk.root / "in"))) == [["mine", "request-00000001", "request-00000002"]]


@pytest.mark.parametrize("is_first", [pytest.param(True, id="before"), pytest.param(False, id="after")])
def test_an_assigned_id_that_the_user_has_given_is_found(desk: Desk, is_first: bool) -> None:
    """Two requests of one id would be one row: such an input is refused, with the line of the user's own."""
    own = line("request-00000001") if is_first else line("request-00000000")
    text = desk.problems(desk.put("in.jsonl", own + line(None) if is_first else line(None) + own))

    number = 1 if is_first else 2
    assert (
        f'line {number}: custom_id "request-0000000{2 - number}" (line {number}) is what a request without one' in text
    )


def test_ids_that_look_assigned_are_as_good_as_any(desk: Desk) -> None:
    """The failures of an earlier run, with ids of that run, are an input."""
    content = line("request-00000007") + line("request-00000001") + line("request-00000000")

    assert len(desk.plan(desk.put("in.jsonl", content))) == 1


@pytest.mark.parametrize("run", [pytest.param(1 << 19, id="in-memory"), pytest.param(100, id="through-files")])
def test_duplicates_are_named_with_both_lines(desk: Desk, monkeypatch: pytest.MonkeyPatch, run: int) -> None:
    """Far apart, in different blocks and shards, in the first line behind a mark."""
    monkeypatch.setattr(duplicates, "RUN_NUMBERS", run)
    monkeypatch.setattr(paths, "CHUNK_BYTES", 1 << 12)
    content = b"\xef\xbb\xbf" + rows("first") + b"\n" + numbered(900) + rows("first", "row-899", "row-899")
    text = desk.problems(desk.put("in.jsonl", content), max_requests=100)

    assert "in.jsonl has 3 problems in 905 lines" in text
    assert 'line 903: custom_id "first" was already used in line 1' in text
    assert 'line 904: custom_id "row-899" was already used in line 902' in text
    assert 'line 905: custom_id "row-899" was already used in line 902' in text


def test_an_input_of_nothing_but_duplicates_shows_ten(desk: Desk) -> None:
    """All are counted, the first ten shown."""
    text = desk.problems(desk.put("in.jsonl", rows("a") * 5000))

    assert "has 4,999 problems" in text
    assert text.count("was already used in line 1\n") == 10


def test_ids_that_share_a_hash_are_no_duplicates(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that comes twice is only a reason to look."""
    monkeypatch.setattr(duplicates.DuplicateFinder, "find", lambda self: {hash("row-1"), hash("row-2")})

    assert len(desk.plan(desk.put("in.jsonl", numbered(5)))) == 1


def test_tokens_are_counted_by_size(desk: Desk) -> None:
    """A token limit makes smaller shards."""
    size = len(line("row-0"))
    pieces = desk.plan(desk.put("in.jsonl", numbered(9)), max_tokens=size)

    assert [piece.requests for piece in pieces] == [3, 3, 3]


def test_interleaved_groups_keep_their_positions(desk: Desk) -> None:
    """Endpoints and models get shards of their own; where positions have gaps they are kept beside the shard."""
    order = [(CHAT, "a"), (CHAT, "b"), (EMBEDDINGS, "a"), (CHAT, "a"), (CHAT, "a"), (CHAT, "b"), (EMBEDDINGS, "a")]
    content = b"".join(line(f"row-{n}", url=url, body={"model": model}) for n, (url, model) in enumerate(order))
    source = desk.put("in.jsonl", content)
    by_model = desk.plan(source, max_requests=2, one_model=True)

    found = [(piece.endpoint, piece.group, list(desk.folder.indices(piece))) for piece in by_model]
    assert found == [
        (CHAT, 0, [0, 3]), (CHAT, 1, [1, 5]), (EMBEDDINGS, 2, [2, 6]), (CHAT, 0, [4]),
    ]  # fmt: skip
    assert [piece.first_index for piece in by_model] == [None, None, None, 4]
    assert desk.shards(by_model) == [[f"row-{n}" for n in indices] for _, _, indices in found]
    assert desk.written() == sorted(
        [f"0-0000{n}.jsonl" for n in range(4)] + [f"0-0000{n}.jsonl.positions" for n in range(3)]
    )


requests = st.tuples(st.sampled_from([CHAT, EMBEDDINGS]), st.sampled_from(["a", "b"]), st.integers(0, 150))


@settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(
    st.lists(requests, min_size=1, max_size=50),
    st.integers(1, 9),
    st.integers(350, 1200),
    st.booleans(),
    st.integers(200, 3000),
    st.sets(st.integers(0, 49), min_size=1),
)
def test_no_request_is_lost_or_misplaced(
    tmp_path_factory: pytest.TempPathFactory,
    given_requests: list[tuple[str, str, int]],
    max_requests: int,
    max_bytes: int,
    one_model: bool,
    chunk_bytes: int,
    open_positions: set[int],
) -> None:
    """Any interleaving of groups, sizes and blocks, in the first round and again in the second, from disk."""
    desk = Desk(tmp_path_factory.mktemp("plan"))
    lines = [line(f"row-{n}", url=u, body={"model": m, "t": "x" * s}) for n, (u, m, s) in enumerate(given_requests)]
    limits: dict[str, Any] = {"max_requests": max_requests, "max_bytes": max_bytes, "one_model": one_model}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CHUNK_BYTES", chunk_bytes)
        first = desk.plan(desk.put("in.jsonl", b"".join(lines)), **limits)
    again = [(index, lines[index]) for index in sorted(open_positions) if index < len(lines)]
    second = plan_round(iter(again), desk.folder, BatchLimits(**limits), 1)

    for pieces, expected in ((first, list(enumerate(lines))), (second, again)):
        found: list[tuple[int, bytes]] = []
        last_of_group: dict[int, int] = {}
        for number, piece in enumerate(pieces):
            content = desk.content(piece)
            indices = list(desk.folder.indices(piece))
            assert (piece.number, piece.bytes, piece.requests) == (number, len(content), len(indices))
            assert piece.requests <= max_requests
            assert piece.bytes <= max_bytes
            assert indices == sorted(indices)
            assert indices[0] > last_of_group.get(piece.group, -1)
            last_of_group[piece.group] = indices[-1]
            found += zip(indices, content.splitlines(keepends=True), strict=True)
            assert {json.loads(each)["url"] for _, each in found[-len(indices) :]} == {piece.endpoint}
        assert sorted(found) == expected
