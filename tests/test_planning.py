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

from airflow_batch_provider.core.joining_job import ids_from_lines
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.planning import plan_input, plan_round
from airflow_batch_provider.storage import paths, sources
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
        return plan_input(sources.find_files(source), self.folder, BatchLimits(**limits), endpoint).pieces

    def problems(self, source: str, endpoint: str | None = None, **limits: Any) -> str:
        """The text of the refusal; nothing is left in the output."""
        with pytest.raises(InputError) as refused:
            self.plan(source, endpoint, **limits)
        assert self.written() == []
        return str(refused.value)

    def shards(self, pieces: Sequence[Piece]) -> list[list[str]]:
        return [ids_from_lines(self.folder.id_lines(piece)) for piece in pieces]

    def content(self, piece: Piece) -> bytes:
        return Path(self.folder.shard(piece)).read_bytes()

    def written(self) -> list[str]:
        """Names of all files but those with the ids of each shard; a refused input leaves none of either."""
        names = sorted(path.name for path in Path(self.folder.output).rglob("*") if path.is_file())
        shards = [name for name in names if name.endswith(".jsonl")]
        assert [name for name in names if name.endswith(".ids")] == [f"{name}.ids" for name in shards]
        return [name for name in names if not name.endswith(".ids")]


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


@pytest.mark.parametrize("pattern", ["", "/", "/*.jsonl*"])
def test_files_of_a_folder_are_one_input(desk: Desk, pattern: str) -> None:
    """In the order of their names, positions counted through, the mark at the beginning of each taken off."""
    desk.put("b.jsonl", rows("b1", "b2").rstrip())
    desk.put("a.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + rows("a1")))
    desk.put("c.jsonl", b"\xef\xbb\xbf" + rows("c1"))
    pieces = desk.plan(str(desk.root / "in") + pattern, max_requests=3)

    assert b"".join(map(desk.content, pieces)) == rows("a1", "b1", "b2", "c1")
    assert [piece.first_index for piece in pieces] == [0, 3]


def test_missing_custom_ids_are_assigned_for_good(desk: Desk) -> None:
    """The shard has them, so that results and failures have them too; positions count through files."""
    desk.put("a.jsonl", line("mine") + line(None))
    desk.put("b.jsonl", line(None))

    assert desk.shards(desk.plan(str(desk.root / "in"))) == [["mine", "request-00000001", "request-00000002"]]


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


def test_a_plan_says_what_it_was_made_of(desk: Desk) -> None:
    """Beside its pieces: the models that were asked for, in the order in which they came, and the number of files."""
    desk.put("a.jsonl", rows("a", body={"model": "large"}) + rows("b", body={"model": "small"}) + rows("c", body={}))
    source = desk.put("b.jsonl", rows("d", body={"model": "large"}))
    plan = plan_input(sources.find_files(str(desk.root / "in")), desk.folder, BatchLimits(), None)

    assert ([piece.requests for piece in plan.pieces], plan.models, plan.files) == ([4], ["large", "small"], 2)
    assert plan_input(sources.find_files(source), desk.folder, BatchLimits(), None)[1:] == (["large"], 1)


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
