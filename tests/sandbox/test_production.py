from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.sandbox.directives import Directives, Outcome
from airflow_batch_provider.sandbox.production import WINDOW_BYTES, WINDOW_LINES, Job, ShuffledWriter, Spread, produce
from tests.sandbox.support import CHAT, lines_of, row, rows

Lines = list[dict[str, Any]]


def produced(
    folder: Path, content: bytes, *, share: float = 1.0, ending: Outcome = "completed", **directives: Any
) -> tuple[Lines, Lines]:
    source, output, errors = folder / "in", folder / "out", folder / "err"
    source.write_bytes(content)
    job = Job(
        batch_id="batch_" + "0" * 32,
        endpoint=CHAT,
        rows=content.count(b"\n"),
        share=share,
        ending=ending,
        ended_at=1_700_000_000,
        directives=Directives(**directives),
        max_line_bytes=100_000,
    )
    tally = produce(source, output, errors, job, seed=3)
    good, bad = lines_of(output.read_bytes()), lines_of(errors.read_bytes())
    assert (tally.completed, tally.failed) == (len(good), len(bad))
    return good, bad


def ids_of(lines: Lines) -> list[str]:
    return [line["custom_id"] for line in lines]


def test_an_output_line_is_openais(tmp_path: Path) -> None:
    """id, custom_id, response with status, request id and body, and an error that is null."""
    ((line,), bad) = produced(tmp_path, row("a"))

    assert bad == []
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert line["id"].startswith("batch_req_")
    assert line["response"]["request_id"].startswith("req_")
    assert (line["custom_id"], line["response"]["status_code"], line["error"]) == ("a", 200, None)
    assert line["response"]["body"]["object"] == "chat.completion"


@pytest.mark.parametrize("count", [2, 3, 20, 1_000])
def test_the_output_is_in_another_order(tmp_path: Path, count: int) -> None:
    """Every row is there once, and never in the order of the input."""
    good, _ = produced(tmp_path, rows(count))
    expected = [f"row-{index}" for index in range(count)]

    assert ids_of(good) != expected
    assert sorted(ids_of(good)) == sorted(expected)


def test_request_ids_are_unique(tmp_path: Path) -> None:
    """Each row has an id of its own."""
    good, _ = produced(tmp_path, rows(100))

    assert len({line["id"] for line in good}) == 100


def test_a_share_of_the_rows_fails(tmp_path: Path) -> None:
    """Failed rows go to the error file with a response that says so; the codes take turns."""
    good, bad = produced(tmp_path, rows(30), fail_rows=0.3)

    assert (len(good), len(bad)) == (21, 9)
    assert {line["response"]["status_code"] for line in bad} == {400, 429, 500}
    assert all(line["error"] is None and line["response"]["body"]["error"]["message"] for line in bad)


def test_the_code_of_failures_can_be_chosen(tmp_path: Path) -> None:
    """Then it is the same for all."""
    _, bad = produced(tmp_path, rows(10), fail_rows=1, fail_code=503)

    assert {line["response"]["status_code"] for line in bad} == {503}


def test_rows_fail_by_their_model(tmp_path: Path) -> None:
    """One row can fail alone."""
    good, bad = produced(tmp_path, rows(2) + row("bad", {"model": "sandbox-fail-429", "messages": []}))

    assert (len(good), ids_of(bad)) == (2, ["bad"])


@pytest.mark.parametrize(("ending", "code"), [("expired", "batch_expired"), ("cancelled", "batch_cancelled")])
def test_unfinished_rows_are_errors(tmp_path: Path, ending: Outcome, code: str) -> None:
    """Rows nobody got to have no response and an error that says why."""
    good, bad = produced(tmp_path, rows(10), share=0.3, ending=ending)

    assert (len(good), len(bad)) == (3, 7)
    assert {(line["response"], line["error"]["code"]) for line in bad} == {(None, code)}


def test_missing_rows_are_in_neither_file(tmp_path: Path) -> None:
    """They are simply never mentioned."""
    good, bad = produced(tmp_path, rows(100), missing_rows=0.05, fail_rows=0.2)

    assert (len(good), len(bad)) == (76, 19)


def test_bodies_can_be_strings(tmp_path: Path) -> None:
    """Some servers put JSON into a string."""
    ((line,), _) = produced(tmp_path, row("a"), string_body=True)

    assert line["response"]["body"].startswith('{"id":"chatcmpl-')


def test_lines_can_end_with_crlf(tmp_path: Path) -> None:
    """Every line does, in both files."""
    produced(tmp_path, rows(4), crlf=True, fail_rows=0.5)

    for name in ("out", "err"):
        content = (tmp_path / name).read_bytes()
        assert content.count(b"\r\n") == content.count(b"\n") == 2


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (1, 3), (0, 0)])
def test_a_spread_is_exact(count: int, total: int) -> None:
    """Exactly as many as asked for."""
    spread = Spread(count, total)

    assert sum(spread.takes_next() for _ in range(total)) == count


@pytest.mark.parametrize("size", [10, WINDOW_BYTES // 3])
def test_the_window_is_bounded(size: int) -> None:
    """Neither many lines nor large ones are all held back."""
    file = io.BytesIO()
    writer = ShuffledWriter(file, random.Random(1))
    for index in range(2 * WINDOW_LINES if size == 10 else 12):
        writer.push(bytes([index % 256]) * size)

    assert len(writer._window) <= WINDOW_LINES
    assert writer._held == sum(map(len, writer._window)) <= WINDOW_BYTES
