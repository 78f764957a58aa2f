"""Requests of one custom_id: found among millions, named by file and line, counted to the last."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider import planning
from airflow_batch_provider.core import sharding
from airflow_batch_provider.storage import duplicates, paths
from tests.core.support import line
from tests.test_planning import Desk, numbered, rows
from tests.test_planning_problems import shown


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("is_first", [pytest.param(True, id="before"), pytest.param(False, id="after")])
def test_an_assigned_id_that_the_user_has_given_is_found(desk: Desk, is_first: bool) -> None:
    """Two requests of one id would be one row: such an input is refused, with the line of the user's own."""
    own = line("request-00000001") if is_first else line("request-00000000")
    text = desk.problems(desk.put("in.jsonl", own + line(None) if is_first else line(None) + own))

    number = 1 if is_first else 2
    assert shown(text) == [
        f'line {number}: custom_id "request-0000000{2 - number}" is what a request without one gets; give all '
        "requests one, or none"
    ]


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


def test_many_duplicates_are_counted_exactly_and_shown_from_the_first(desk: Desk) -> None:
    """However many there are, and the same ones at every try."""
    text = desk.problems(desk.put("in.jsonl", numbered(3000) + numbered(2500) + numbered(5)))

    assert "has 2,505 problems in 5,505 lines" in text
    assert shown(text) == [f'line {3001 + n}: custom_id "row-{n}" was already used in line {n + 1}' for n in range(10)]


def test_the_first_ten_problems_are_those_of_the_input(desk: Desk) -> None:
    """Duplicates do not wait until other problems are shown, nor the other way round."""
    content = rows("a") + b"oops\n" + rows("a") * 4 + b"oops\n" * 20 + rows("a") * 20
    text = desk.problems(desk.put("in.jsonl", content))

    assert "has 45 problems in 46 lines" in text
    assert [line.split(":")[0] for line in shown(text)] == ["line 2", *(f"line {n}" for n in range(3, 12))]
    assert ["was already" in line for line in shown(text)] == [False, *[True] * 4, *[False] * 5]


def test_problems_of_several_files_are_shown_file_by_file(desk: Desk) -> None:
    """A late line of one file comes before an early one of the next."""
    desk.put("a.jsonl", rows("a1", "a2", "a3") + b"oops\n" + rows("a2"))
    desk.put("b.jsonl", b"oops\n" + rows("a1"))
    desk.put("c.jsonl", rows("c1") + b"oops\n")
    text = desk.problems(str(desk.root / "in"))

    assert shown(text) == [
        "line 4: not JSON (invalid character at column 1) (in a.jsonl)",
        'line 5: custom_id "a2" was already used in line 2 of a.jsonl (in a.jsonl)',
        "line 1: not JSON (invalid character at column 1) (in b.jsonl)",
        'line 2: custom_id "a1" was already used in line 1 of a.jsonl (in b.jsonl)',
        "line 2: not JSON (invalid character at column 1) (in c.jsonl)",
    ]


def test_an_assigned_id_is_named_by_file_and_line(desk: Desk) -> None:
    """Those of lines with problems are not assigned, in the second reading as in the first."""
    desk.put("a.jsonl", b"oops\n" + rows("a") + line(None))
    desk.put("b.jsonl", b"\n" + rows("request-00000001", "request-00000001"))
    text = desk.problems(str(desk.root / "in"))

    given = 'custom_id "request-00000001" is what a request without one gets; give all requests one, or none'
    assert shown(text)[1:] == [f"line {number}: {given} (in b.jsonl)" for number in (2, 3)]


def test_only_requests_without_problems_have_ids(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is refused anyway is no duplicate, also when it is one batch too many."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (planning.OTHER_FILES + 30, 1000))
    groups = [line(f"row-{number}", body={"model": f"m{number}"}) for number in range(11)]
    content = b"".join([*groups, line("row-10", body={"model": "m0"}), line("row-0", method="GET"), groups[0]])
    text = desk.problems(desk.put("in.jsonl", content), one_model=True)

    assert [line.split(":")[0] for line in shown(text)] == ["line 11", "line 13", "line 14"]
    assert 'line 14: custom_id "row-0" was already used in line 1' in text


def test_the_second_reading_ends_with_the_last_line_to_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a large input is not read again."""
    monkeypatch.setattr(paths, "CHUNK_BYTES", 1 << 10)
    read_line_blocks, blocks = paths.read_line_blocks, []

    def counted(stream: Any, **limits: Any) -> Any:
        for block in read_line_blocks(stream, **limits):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(paths, "read_line_blocks", counted)
    text = desk.problems(desk.put("in.jsonl", rows("a", "a") + numbered(1000)))

    assert shown(text) == ['line 2: custom_id "a" was already used in line 1']
    assert 1002 < sum(blocks) < 1020


def test_ids_that_share_a_hash_are_no_duplicates(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that comes twice is only a reason to look."""
    monkeypatch.setattr(sharding, "hash", len, raising=False)
    (piece,) = desk.plan(desk.put("in.jsonl", rows("a", "b", "c", "dd", "ee")))
    text = desk.problems(desk.put("in.jsonl", rows("a", "b", "c", "dd", "ee", "a", "b", "ee")))

    assert piece.requests == 5
    assert "has 3 problems" in text
    assert shown(text) == [
        'line 6: custom_id "a" was already used in line 1',
        'line 7: custom_id "b" was already used in line 2',
        'line 8: custom_id "ee" was already used in line 5',
    ]
