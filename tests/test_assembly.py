"""From landed pieces to results: input order, each request once, the newest round wins."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_batch_provider import planning
from airflow_batch_provider.assembly import open_requests, write_failures, write_results
from airflow_batch_provider.core.joining_job import ids_from_lines
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.outcomes import Answer, Outcome, missing_answer
from airflow_batch_provider.exceptions import JournalUnreadableError
from airflow_batch_provider.planning import plan_input, plan_round
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.shards import RunFolder
from tests.core.support import CHAT, line, row

EMBEDDINGS = "/v1/embeddings"
SUCCESS = Answer(None, Outcome.SUCCEEDED, False, b'{"ok":1}', b"null", 1, 1, "m", "")
REFUSED = Answer(None, Outcome.FAILED, False, b"null", b'{"code":"bad"}', 0, 0, None, "400")


class Run:
    """Rounds over an input, landed by a table of outcomes: s(ucceeded), r(efused), o(pen)."""

    def __init__(self, root: Path, lines: list[bytes], limits: BatchLimits, rounds: int = 3) -> None:
        self.folder = RunFolder(str(root / "out"))
        (root / "in.jsonl").write_bytes(b"".join(lines))
        self.limits = limits
        self.to_a_file = 2
        self.pieces = plan_input(sources.find_files(str(root / "in.jsonl")), self.folder, limits, None, rounds).pieces

    def land(self, number: int, fates: list[str], *, is_last: bool) -> None:
        """Land the pieces of a round, one or two to a file; ``fates`` are by position in the input."""
        for count, piece in enumerate(each for each in self.pieces if each.round == number):
            opened: list[int] = []
            rows = b""
            for position, index in enumerate(self.folder.indices(piece)):
                custom_id = ids_from_lines(self.folder.id_lines(piece))[position]
                answer = {"s": SUCCESS, "r": REFUSED, "o": missing_answer(custom_id)}[fates[index]]
                is_open = fates[index] == "o" and not is_last
                if is_open:
                    opened.append(position)
                else:
                    piece.counts[answer.outcome.value] = piece.counts.get(answer.outcome.value, 0) + 1
                rows += row(index, custom_id, answer, number)
            piece.open = len(opened)
            self.write(piece, f"{number}-{count // self.to_a_file}.jsonl", rows)
            if opened:
                self.folder.save_positions(self.folder.opened(piece, piece.landed_file), opened)

    def write(self, piece: Piece, name: str, rows: bytes) -> None:
        """Write a piece's rows behind what a file has."""
        path = Path(self.folder.landed_file(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            piece.landed_file, piece.landed_offset, piece.landed_bytes = name, file.tell(), file.write(rows)

    def again(self, number: int) -> list[tuple[int, bytes]]:
        last = [piece for piece in self.pieces if piece.round == number - 1]
        found = list(open_requests(self.folder, last))
        self.pieces += plan_round(iter(found), self.folder, self.limits, number)
        return found

    def finish(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        results, failures = self.folder.path("results.jsonl"), self.folder.path("failures.jsonl")
        count = write_results(self.folder, self.pieces, results)
        failed = write_failures(self.folder, self.pieces, results, failures)
        rows = [json.loads(row) for row in Path(results).read_bytes().splitlines()]
        lines = Path(failures).read_bytes().splitlines(keepends=True)
        assert (len(rows), len(lines)) == (count, failed)
        return rows, lines


requests = st.tuples(
    st.sampled_from([CHAT, EMBEDDINGS]), st.sampled_from("ab"), st.lists(st.sampled_from("sro"), min_size=3, max_size=3)
)


@settings(derandomize=True, deadline=None, database=None, max_examples=80)
@given(
    st.lists(requests, min_size=1, max_size=30), st.integers(1, 6), st.booleans(), st.booleans(), st.integers(100, 2000)
)
def test_results_are_in_input_order_and_the_newest_round_wins(
    tmp_path_factory: pytest.TempPathFactory,
    found: list[tuple[str, str, list[str]]],
    max_requests: int,
    one_model: bool,
    one_group: bool,
    chunk_bytes: int,
) -> None:
    """Any groups over three rounds: each index once, from the last round that had it; failures are all the others."""
    if one_group:
        found = [(CHAT, "a", fates) for *_, fates in found]
    lines = [line(f"row-{n}", url=url, body={"model": model}) for n, (url, model, _) in enumerate(found)]
    root = tmp_path_factory.mktemp("run")
    run = Run(root, lines, BatchLimits(max_requests, one_model=one_model))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CHUNK_BYTES", chunk_bytes)
        run.land(0, [fates[0] for *_, fates in found], is_last=False)
        expected = [(0, fates[0]) for *_, fates in found]
        for number in (1, 2):
            still = [index for index, (_, fate) in enumerate(expected) if fate == "o"]
            assert run.again(number) == [(index, lines[index]) for index in still]
            run.land(number, [fates[number] for *_, fates in found], is_last=number == 2)
            for index in still:
                expected[index] = (number, found[index][2][number])
        rows, failures = run.finish()

    assert [row["index"] for row in rows] == list(range(len(lines)))
    words = {"s": "succeeded", "r": "failed", "o": "missing"}
    assert [(row["round"], row["outcome"]) for row in rows] == [(n, words[fate]) for n, fate in expected]
    bad = [index for index, (_, fate) in enumerate(expected) if fate != "s"]
    assert failures == [lines[index] for index in bad]


@pytest.mark.parametrize("rounds", [2, 6])
def test_what_is_planned_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    """As many groups as planning takes, each open in every round: no later step needs more files than there may be."""
    others = 10 + (len(list(Path("/proc/self/fd").iterdir())) if Path("/proc").is_dir() else 100)
    monkeypatch.setattr(planning, "OTHER_FILES", others)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (others + 120, hard))
    try:
        count = planning.max_groups(rounds)
        lines = [line(f"row-{n}", body={"model": f"m{n % count}"}) for n in range(30 * count)]
        run = Run(tmp_path, lines, BatchLimits(one_model=True), rounds)
        for number in range(rounds):
            if number:
                last = [piece for piece in run.pieces if piece.round == number - 1]
                run.pieces += plan_round(open_requests(run.folder, last), run.folder, run.limits, number)
            run.land(number, ["o"] * len(lines), is_last=number == rounds - 1)
        rows, failures = run.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert count > planning.MIN_GROUPS
    assert [row["index"] for row in rows] == list(range(len(lines)))
    assert failures == lines


def test_failures_are_an_input_again(tmp_path: Path) -> None:
    """Also those whose custom_id was assigned: planned anew they are the same requests."""
    run = Run(tmp_path, [line(None), line("mine"), line(None)], BatchLimits())
    run.land(0, ["r", "s", "r"], is_last=True)
    _, failures = run.finish()
    (tmp_path / "again").mkdir()

    again = Run(tmp_path / "again", failures, BatchLimits())

    assert ids_from_lines(again.folder.id_lines(again.pieces[0])) == ["request-00000000", "request-00000002"]


@pytest.mark.parametrize(
    "custom_id",
    [
        pytest.param('","outcome":"succeeded"', id="looks-like-an-outcome"),
        pytest.param('\\","outcome":"succeeded"', id="with-a-backslash"),
        pytest.param("x" * 5000, id="long"),
        pytest.param("\u2028é,,,", id="odd"),
    ],
)
@pytest.mark.parametrize(("fate", "count"), [("s", 0), ("r", 1)])
def test_no_custom_id_makes_a_failure_a_success(tmp_path: Path, custom_id: str, fate: str, count: int) -> None:
    """Nor a success a failure, which would be paid again."""
    run = Run(tmp_path, [line(custom_id), line("other")], BatchLimits())
    run.land(0, [fate, "s"], is_last=True)
    rows, failures = run.finish()

    assert rows[0]["custom_id"] == custom_id
    assert failures == [line(custom_id)] * count


def test_what_a_service_says_does_not_make_a_failure_a_success(tmp_path: Path) -> None:
    """A refusal may hold any words."""
    run = Run(tmp_path, [line("a")], BatchLimits())
    run.land(0, ["r"], is_last=True)
    piece = run.pieces[0]
    said = REFUSED._replace(response=b'{"outcome":"succeeded","x":1,"outcome":"succeeded"}')
    run.write(piece, "another.jsonl", row(0, "a", said))
    _, failures = run.finish()

    assert failures == [line("a")]


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "not here")


def pairs_of(root: Path, count: int, *, to_a_file: int) -> Run:
    """Land shards of two rows each."""
    run = Run(root, [line(f"row-{n}") for n in range(count)], BatchLimits(2))
    run.to_a_file = to_a_file
    run.land(0, ["s"] * count, is_last=True)
    return run


@pytest.mark.parametrize("to_a_file", [1, 2, 3])
def test_rows_in_several_files_become_one(tmp_path: Path, to_a_file: int) -> None:
    """However pieces came to lie, the results are all of them in order."""
    run = pairs_of(tmp_path, 6, to_a_file=to_a_file)
    rows, _ = run.finish()

    assert [row["index"] for row in rows] == list(range(6))
    copied = Path(run.folder.path("results.jsonl")).stat().st_nlink == 1
    assert copied == (to_a_file < 3)


@pytest.mark.parametrize("spoil", ["swapped", "garbage-behind", "no-links"])
def test_a_file_that_is_not_the_results_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str) -> None:
    """Pieces that landed in another order, what a failed try left behind them, or a disk without links."""
    run = pairs_of(tmp_path, 4, to_a_file=2)
    first, second = run.pieces
    if spoil == "swapped":
        half = Path(run.folder.landed(first).path).read_bytes()
        for piece in (second, first):
            run.write(piece, "swapped.jsonl", half[piece.landed_offset :][: piece.landed_bytes])
    elif spoil == "garbage-behind":
        with Path(run.folder.landed(first).path).open("ab") as file:
            file.write(b'{"index":3,"custom')
    else:
        monkeypatch.setattr("os.link", no_links)
    rows, _ = run.finish()

    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert Path(run.folder.path("results.jsonl")).stat().st_nlink == 1


def test_linked_results_are_written_again_without_a_trace(tmp_path: Path) -> None:
    """A try that died behind the link does it again: the same file, and nothing beside it."""
    run = pairs_of(tmp_path, 4, to_a_file=2)
    once = run.finish()

    assert run.finish() == once
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_run", "failures.jsonl", "results.jsonl"]


def test_rows_that_were_cut_off_since_they_landed_are_noticed(tmp_path: Path) -> None:
    """A shorter file is never shorter results, and the remedy is told."""
    run = pairs_of(tmp_path, 4, to_a_file=2)
    os.truncate(run.folder.landed(run.pieces[1]).path, run.pieces[1].landed_offset + 10)

    with pytest.raises(JournalUnreadableError, match="too early.*shard 0-00001.*Put the file back"):
        run.finish()
    assert not Path(run.folder.path("results.jsonl")).exists()


def test_a_run_that_failed_to_write_leaves_the_earlier_results(tmp_path: Path) -> None:
    """Results appear whole or not at all."""
    run = Run(tmp_path, [line("a"), line("b", url=EMBEDDINGS)], BatchLimits())
    run.land(0, ["s", "s"], is_last=True)
    target = Path(run.folder.path("results.jsonl"))
    target.write_bytes(b"old")
    Path(run.folder.landed(run.pieces[1]).path).unlink()
    with pytest.raises(Exception, match="There is no file"):
        write_results(run.folder, run.pieces, str(target))

    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in target.parent.iterdir()) == ["_run", "results.jsonl"]
