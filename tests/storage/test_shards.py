"""The files of a run: what was written comes back, in blocks, in order."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_provider.core.joining_job import ids_from_lines
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.exceptions import JournalUnreadableError
from airflow_batch_provider.storage.shards import RunFolder
from tests.core.support import CHAT, line


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(f"{tmp_path}/")


def piece(requests: int, first_index: int | None = 0) -> Piece:
    return Piece(3, 1, 0, CHAT, requests, 0, first_index)


def write(path: str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def test_names_tell_round_and_number(folder: RunFolder, tmp_path: Path) -> None:
    """A piece's files carry its round and number; a slash at the end of the output changes nothing."""
    assert folder.shard(piece(1)) == f"{tmp_path}/_run/shards/1-00003.jsonl"
    assert folder.opened(piece(1), "x.jsonl") == f"{tmp_path}/_run/landed/x.jsonl.1-00003"
    assert folder.journal == RunFolder(str(tmp_path)).journal == f"{tmp_path}/_run/journal.json"


def test_a_file_that_is_surely_absent_is_none(folder: RunFolder) -> None:
    """Only "not found" means that there is no journal."""
    assert folder.load_json(folder.journal) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": 1}x'])
def test_a_file_that_cannot_be_read_is_never_taken_for_absent(folder: RunFolder, content: bytes) -> None:
    """It may tell of paid batches."""
    write(folder.journal, content)
    with pytest.raises(JournalUnreadableError, match="cannot be read .*nothing was started"):
        folder.load_json(folder.journal)


def test_a_folder_in_the_journals_place_is_an_error(folder: RunFolder) -> None:
    """Whatever else stands there, it is not "no journal"."""
    Path(folder.journal).mkdir(parents=True)
    with pytest.raises(JournalUnreadableError):
        folder.load_json(folder.journal)


def test_json_comes_back(folder: RunFolder) -> None:
    """What is saved is what is loaded, also over an older one, and nothing else is left."""
    folder.save_json(folder.journal, {"a": 1, "long": "x" * 1000})
    folder.save_json(folder.journal, {"a": "\u2028é"})

    assert folder.load_json(folder.journal) == {"a": "\u2028é"}
    assert [path.name for path in Path(folder.journal).parent.iterdir()] == ["journal.json"]


@pytest.mark.parametrize("positions", [[], [0], [5, 1 << 40, 3]])
def test_positions_come_back(folder: RunFolder, positions: list[int]) -> None:
    """Also of inputs beyond four thousand million requests."""
    folder.save_positions(folder.shard(piece(1)), positions)

    assert list(folder.load_positions(folder.shard(piece(1)))) == positions


def test_indices_are_a_range_or_the_saved_positions(folder: RunFolder) -> None:
    """Consecutive requests need no file."""
    folder.save_positions(folder.shard(piece(2)), [4, 9])

    assert list(folder.indices(piece(3, first_index=7))) == [7, 8, 9]
    assert list(folder.indices(piece(2, first_index=None))) == [4, 9]


def test_custom_ids_come_in_order(folder: RunFolder) -> None:
    """As the service will see them."""
    ids = ["b", "a", "\u2028", '"quoted"', "é"]
    write(folder.shard(piece(5)), b"".join(map(line, ids)))

    assert ids_from_lines(folder.id_lines(piece(5))) == ids


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(b'["b"]\n["a","\\u2028"]\n', id="kept"),
        pytest.param(b'["b"]\n', id="too-few"),
        pytest.param(b'["b"]\n["a', id="cut"),
        pytest.param(b"", id="empty"),
        pytest.param(None, id="absent"),
    ],
)
def test_custom_ids_are_kept_beside_the_shard(folder: RunFolder, kept: bytes | None) -> None:
    """They need not be read from the shard; where they are not all there, they are."""
    write(folder.shard(piece(3)), b"".join(map(line, ["b", "a", "\u2028"])))
    if kept is not None:
        write(folder.ids(piece(3)), kept)

    assert ids_from_lines(folder.id_lines(piece(3))) == ["b", "a", "\u2028"]


@pytest.mark.parametrize("ids", [["b", "a"], [",", ","], ['a","b', "c"], ['a",', '",']])
def test_kept_custom_ids_are_counted_whatever_is_in_them(folder: RunFolder, ids: list[str]) -> None:
    """Quotes and commas of their own too: the shard need not be read for it, and here there is none."""
    write(folder.ids(piece(2)), msgspec.json.encode(ids) + b"\n")

    assert ids_from_lines(folder.id_lines(piece(2))) == ids


@settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(st.sets(st.integers(0, 299)), st.integers(1, 40_000))
def test_requests_at_positions_are_those(
    tmp_path_factory: pytest.TempPathFactory, positions: set[int], chunk_bytes: int
) -> None:
    """Any ascending positions, however the file falls into blocks."""
    folder = RunFolder(str(tmp_path_factory.mktemp("run")))
    lines = [line(f"row-{number}") for number in range(300)]
    write(folder.shard(piece(300)), b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_batch_provider.storage.paths.CHUNK_BYTES", chunk_bytes)
        found = list(folder.requests_at(piece(300), sorted(positions)))

    assert found == [lines[position] for position in sorted(positions)]


def test_removing_what_is_gone_is_done(folder: RunFolder) -> None:
    """Tidying up can be broken off and repeated."""
    write(folder.path("a"), b"")
    for _ in range(2):
        folder.remove([folder.path("a"), folder.path("deep", "er", "b")])
    assert not Path(folder.path("a")).exists()


def test_landed_rows_go_whoever_wrote_them(folder: RunFolder) -> None:
    """Tries that were lost have left files that no journal tells of; done again, or with nothing there, it is done."""
    for name in ("1-00003-ours.jsonl", "1-00003-lost.jsonl", "1-00003-lost.jsonl.1-00003.positions", ".x.part"):
        write(folder.landed_file(name), b"x")
    for _ in range(2):
        folder.remove_landed()
        folder.remove_empty_folders()

    assert not Path(folder.landed_file("x")).parent.exists()
