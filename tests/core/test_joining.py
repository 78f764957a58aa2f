"""Result lines join to requests: whatever comes back, every request gets exactly one row and counts add up."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.core import joining as joining_module
from airflow_batch_provider.core import plain_lines
from airflow_batch_provider.core.joining import RowJoiner
from airflow_batch_provider.core.outcomes import Outcome, missing_answer
from airflow_batch_provider.core.rows import is_row
from airflow_batch_provider.exceptions import DownloadError

Report = tuple[list[str], list[bytes], list[bytes], dict[str, str], int]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
ODD_TEXT = st.text(max_size=12) | st.sampled_from(
    ["a\u2028b", "a\u0085b", "\r\n", '","outcome":"failed"', "\u00e9" * 30]
)


@pytest.fixture(scope="module", autouse=True, params=[0, joining_module.FEW], ids=["all-at-once", "one-by-one"])
def _few(request: pytest.FixtureRequest) -> Iterator[None]:
    """Rows are put in their places all at once or one by one, and nobody can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining_module, "FEW", request.param)
        yield


def joiner(ids: list[str], *, can_go_again: bool = False, first_index: int = 0) -> RowJoiner:
    return RowJoiner(
        ids, range(first_index, first_index + len(ids)),
        batch_id="batch_1", round_number=0, unreported=missing_answer, can_go_again=can_go_again,
    )  # fmt: skip


def encode(row: Any, end: bytes = b"\n", *, ascii_only: bool = False) -> bytes:
    text = json.dumps(row, ensure_ascii=ascii_only)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode() + end


def success(custom_id: str, text: str = "hi", **body: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"text": text, "usage": USAGE, "model": "m"} | body
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": given}, "error": None}


def failure(custom_id: str, status: int = 400, code: str = "bad") -> dict[str, Any]:
    return {"custom_id": custom_id, "response": {"status_code": status, "body": {"error": {"code": code}}}}


def settle(found: RowJoiner, *blocks: list[bytes]) -> list[dict[str, Any]]:
    """Rows in order of their positions, as a reader sees them; each position exactly once."""
    for block in blocks:
        found.begin("the file", skips_damage=True)
        found.feed(b"".join(block))
    found.finish()
    return rows_of(found)


def rows_of(found: RowJoiner) -> list[dict[str, Any]]:
    heads = found.heads(0, len(found.tails))
    rows = [head + tail for head, tail in zip(heads, found.tails, strict=True) if isinstance(tail, bytes)]
    assert len(rows) == len(found.tails)
    assert all(row.endswith(b"\n") and row.count(b"\n") == 1 for row in rows)
    assert sum(map(len, rows)) == found.count_bytes()
    return [json.loads(row, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for row in rows]


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Ids, lines of both files in any order and state, and the outcome each request may have, number of strangers."""
    ids = draw(st.lists(ODD_TEXT.filter(bool), min_size=1, max_size=8, unique=True))
    output: list[bytes] = []
    errors: list[bytes] = []
    expected: dict[str, str] = {}
    for custom_id in ids:
        kinds = draw(st.lists(st.sampled_from(sorted(LINES)), max_size=3))
        for kind in kinds:
            row, _ = LINES[kind]
            end = draw(st.sampled_from([b"\n", b"\r\n", b" \n"]))
            # Each file may hold any kind: services differ in what they call an error.
            line = encode(row(custom_id, draw(ODD_TEXT)), end, ascii_only=draw(st.booleans()))
            draw(st.sampled_from([output, errors])).append(line)
        outcomes = [LINES[kind][1] for kind in kinds]
        settled = Outcome.SUCCEEDED if Outcome.SUCCEEDED in outcomes else None
        expected[custom_id] = settled or ("any of " + " ".join(outcomes) if outcomes else Outcome.MISSING)
    noise = [b"\n", b"\r\n", b"not json\n", b'{"custom_id":\n', b"[1]\n", b"null\n", b"{}\n", encode(success("str\u0100nger")),
             encode({"custom_id": 5}), b'{"custom_id": "\\ud800", "error": {"code": "\\udfff"}}\n', b"[" * 5000 + b"\n"]  # fmt: skip
    extra = draw(st.lists(st.sampled_from(noise), max_size=6))
    output += extra[::2]
    errors += extra[1::2]
    strangers = sum(is_row(line) for line in extra)
    return ids, draw(st.permutations(output)), draw(st.permutations(errors)), expected, strangers


# Kinds of lines: what a service may write for a request, and what it means.
LINES: dict[str, tuple[Any, Outcome]] = {
    "success": (success, Outcome.SUCCEEDED),
    "success without usage": (lambda i, t: success(i, t, usage=None), Outcome.SUCCEEDED),
    "success with odd usage": (
        lambda i, t: success(i, t, usage={"prompt_tokens": "3", "completion_tokens": None}),
        Outcome.SUCCEEDED,
    ),
    "success with NaN": (lambda i, t: success(i, t, logprob=float("-inf"), score=float("nan")), Outcome.SUCCEEDED),
    "body as a string (OGX)": (
        lambda i, t: {"custom_id": i, "response": {"status_code": 200, "body": json.dumps({"text": t})}},
        Outcome.SUCCEEDED,
    ),
    "plain text as body": (
        lambda i, t: {"custom_id": i, "response": {"status_code": 200, "body": f"({t}"}},
        Outcome.SUCCEEDED,
    ),
    "no status (Vertex)": (
        lambda i, t: {"custom_id": i, "error": "", "response": {"body": {"t": t}}},
        Outcome.SUCCEEDED,
    ),
    "status as text": (
        lambda i, t: {"custom_id": i, "response": {"status_code": "200", "body": {"t": t}}},
        Outcome.SUCCEEDED,
    ),
    "half a surrogate pair as model": (lambda i, t: success(i, t, model="m\ud83d"), Outcome.SUCCEEDED),
    "half a surrogate pair as model, with NaN": (
        lambda i, t: success(i, t, model="\udc00", score=float("nan")),
        Outcome.SUCCEEDED,
    ),
    "error inside a good answer": (lambda i, t: success(i, t, error={"code": "server_error"}), Outcome.FAILED),
    "refused": (lambda i, t: failure(i), Outcome.FAILED),
    "passing failure": (lambda i, t: failure(i, 429), Outcome.FAILED),
    "error without response or code (OGX)": (
        lambda i, t: {"custom_id": i, "error": {"type": "request_failed", "message": t}},
        Outcome.FAILED,
    ),
    "error as text": (lambda i, t: {"custom_id": i, "error": f"x{t}"}, Outcome.FAILED),
    "body false (Vertex)": (
        lambda i, t: {"custom_id": i, "error": "x", "response": {"body": False}},
        Outcome.FAILED,
    ),
    "nothing at all": (lambda i, t: {"custom_id": i}, Outcome.FAILED),
    "absurd numbers": (
        lambda i, t: {"custom_id": i, "response": {"status_code": float("inf"), "body": None}},
        Outcome.FAILED,
    ),
    "expired": (lambda i, t: {"custom_id": i, "error": {"code": "batch_expired", "message": t}}, Outcome.EXPIRED),
    "cancelled": (lambda i, t: {"custom_id": i, "error": {"code": "batch_cancelled"}}, Outcome.CANCELLED),
}


@given(reports(), st.booleans(), st.integers(0, 10**7))
def test_every_request_has_one_row_and_counts_add_up(found: Report, can_go_again: bool, first_index: int) -> None:
    """Any mix of lines, in any order, twice or never, for others or for nobody, makes one row per request, in order."""
    ids, output, errors, expected, strangers = found
    joining = joiner(ids, can_go_again=can_go_again, first_index=first_index)

    rows = settle(joining, output, errors)

    assert [(row["index"], row["custom_id"]) for row in rows] == list(enumerate(ids, first_index))
    for row in rows:
        assert row["outcome"] in expected[row["custom_id"]]
        assert (row["response"] is not None) or row["outcome"] != Outcome.SUCCEEDED
        assert (row["error"] is None) == (row["outcome"] == Outcome.SUCCEEDED)
    tally = joining.tally
    assert sum(tally.counts.values()) + tally.open == len(ids)
    assert joining.open_positions == sorted(set(joining.open_positions))
    assert tally.open == (len(joining.open_positions) if can_go_again else 0)
    final = Counter(row["outcome"] for position, row in enumerate(rows) if position not in joining.open_positions)
    assert dict(tally.counts) == dict(final)
    assert sum(tally.reasons.values()) == len(ids) - tally.counts[Outcome.SUCCEEDED]
    assert sum(tally.final_reasons.values()) == sum(tally.reasons.values()) - tally.open
    assert tally.strangers == strangers


@pytest.mark.parametrize(
    "error", [pytest.param(failure("a"), id="refused"), pytest.param(failure("a", 500), id="passing")]
)
@pytest.mark.parametrize("is_first", [pytest.param(True, id="before"), pytest.param(False, id="after")])
@pytest.mark.parametrize("has_usage", [pytest.param(True, id="usage"), pytest.param(False, id="no-usage")])
def test_a_success_is_never_overwritten(error: dict[str, Any], is_first: bool, has_usage: bool) -> None:
    """An error line for a request that has its answer changes nothing, whether it comes before or after."""
    good = success("a") if has_usage else success("a", usage=None)
    lines = [encode(error), encode(good)] if is_first else [encode(good), encode(error)]
    joining = joiner(["a"], can_go_again=True)

    (row,) = settle(joining, lines)

    assert (row["outcome"], row["response"]["text"]) == ("succeeded", "hi")
    assert (joining.tally.counts, joining.tally.open, joining.tally.reasons) == ({"succeeded": 1}, 0, {})


def test_the_first_of_two_successes_counts_once() -> None:
    """A request that is answered twice keeps its first answer and is charged once in the sums."""
    joining = joiner(["a"])

    (row,) = settle(joining, [encode(success("a", "first")), encode(success("a", "second"))])

    assert row["response"]["text"] == "first"
    assert (joining.tally.input_tokens, joining.tally.output_tokens, joining.tally.duplicates) == (3, 2, 1)


def test_no_more_values_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many different numbers and models a service says: the rows are the same, and memory is bounded."""
    answers = [success(str(i), usage={"prompt_tokens": i, "completion_tokens": i}, model=f"m{i}") for i in range(1, 9)]
    lines = [encode(answer) for answer in answers]
    expected = settle(joiner([str(i) for i in range(1, 9)]), lines)
    monkeypatch.setattr(plain_lines, "MAX_REMEMBERED", 3)
    plain, arrivals = plain_lines.PlainLines(0, b'"batch_1"'), plain_lines.Arrivals()

    assert settle(joiner([str(i) for i in range(1, 9)]), lines) == expected
    assert plain.read(b"".join(lines), arrivals)
    assert [len(each) for each in vars(plain).values()] == [3, 3, 3]


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30])
def test_tokens_are_counted_however_many_they_are_said_to_be(number: int) -> None:
    """A service that counts wrongly loses no row."""
    joining = joiner(["a", "b"])
    usage = {"prompt_tokens": number, "completion_tokens": 1}

    rows = settle(joining, [encode(success("a", usage=usage)), encode(success("b", usage=usage))])

    assert [row["usage"] for row in rows] == [{"input_tokens": number, "output_tokens": 1}] * 2
    assert (joining.tally.input_tokens, joining.tally.output_tokens) == (2 * number, 2)


def test_the_first_failure_names_the_reason() -> None:
    """Of several failures of a request the first is the one in the row."""
    (row,) = settle(joiner(["a"]), [encode(failure("a", 400, "first")), encode(failure("a", 500, "second"))])

    assert row["error"] == {"code": "first"}


def test_a_body_is_passed_through_byte_for_byte() -> None:
    """A plain answer is not decoded and written anew: numbers, order and spaces stay as the service wrote them."""
    body = b'{"b": 1.10,  "a":"\\u00e9\xe2\x80\xa8", "usage": {"prompt_tokens": 1}}'
    line = b'{"custom_id": "a", "response": {"status_code": 200, "body": %b}, "error": null}\n' % body

    joining = joiner(["a"])
    joining.feed(line)
    joining.settle()

    (row,) = joining.tails
    assert isinstance(row, bytes)
    assert b'"response":%b,"error":null' % body in row


def test_a_row_has_the_fields_that_are_promised() -> None:
    """The row of the documentation: these fields in this order."""
    (row,) = settle(joiner(["a"], first_index=16), [encode(success("a"))])

    assert row == {
        "index": 16, "custom_id": "a", "outcome": "succeeded",
        "response": {"text": "hi", "usage": USAGE, "model": "m"}, "error": None,
        "usage": {"input_tokens": 3, "output_tokens": 2}, "model": "m", "round": 0, "batch_id": "batch_1",
    }  # fmt: skip
    assert list(row) == ["index", "custom_id", "outcome", "response", "error", "usage", "model", "round", "batch_id"]


def test_counts_of_rows_that_go_again_are_left_to_the_next_round() -> None:
    """Passing failures and unreported requests are open while there is a next round, and outcomes after the last."""
    lines = [encode(failure("a", 429)), encode(failure("b", 400)), encode(success("c"))]
    first, last = joiner(list("abcd"), can_go_again=True), joiner(list("abcd"))
    settle(first, lines)
    settle(last, lines)

    assert (first.open_positions, first.tally.counts) == ([0, 3], {"failed": 1, "succeeded": 1})
    assert (last.open_positions, last.tally.counts) == ([], {"failed": 2, "succeeded": 1, "missing": 1})
    assert first.tally.final_reasons == {"400 bad": 1}
    assert first.tally.reasons == last.tally.final_reasons == {"429 bad": 1, "400 bad": 1, "missing": 1}


@given(reports(), reports(), st.booleans())
def test_a_file_that_is_rolled_back_leaves_nothing(found: Report, broken: Report, can_go_again: bool) -> None:
    """Whatever part of a file came before its download broke off, the second try joins as if it were the first."""
    ids, output, errors, _, _ = found
    _, other, also, _, _ = broken
    quiet, joining = joiner(ids, can_go_again=can_go_again), joiner(ids, can_go_again=can_go_again)
    expected = settle(quiet, output, errors)
    for number, file in enumerate((output, errors)):
        for lines in (other if number else also, output, file[: len(file) // 2]):
            joining.begin("a broken try", skips_damage=True)
            joining.feed(b"".join(lines))
            joining.roll_back()
        joining.begin("the whole", skips_damage=True)
        for line in file:
            joining.feed(line)
    joining.finish()

    assert rows_of(joining) == expected
    assert (joining.tally, joining.open_positions) == (quiet.tally, quiet.open_positions)


GOOD = encode(success("a"))


@pytest.mark.parametrize(
    ("blocks", "number"),
    [
        pytest.param([GOOD + b"<html>\n"], 2, id="no-json"),
        pytest.param([GOOD, b"\n\r\n" + GOOD + b" \n", GOOD + b"[1]\n" + GOOD], 4, id="behind-blank-lines"),
        pytest.param([GOOD, GOOD + b"\n" + GOOD.replace(b"hi", b"\xff")], 3, id="no-utf8"),
        pytest.param([GOOD + GOOD[:-9]], 2, id="cut"),
        pytest.param([GOOD.replace(b'"hi", ', b'"hi",\n')], 1, id="body-on-two-lines"),
        pytest.param([b"[" * 5000 + b"\n"], 1, id="deep"),
    ],
)
def test_a_line_that_is_no_row_is_refused_with_its_number(blocks: list[bytes], number: int) -> None:
    """A damaged file is not joined any further, and the error tells where, without a word of what it says."""
    joining = joiner(["a"])
    joining.begin("file x")

    with pytest.raises(DownloadError, match=f"Row {number} of file x is not a whole JSON object") as error:
        list(map(joining.feed, blocks))

    assert "html" not in str(error.value)


@pytest.mark.parametrize(
    ("last", "ends_whole"),
    [(b"", True), (b"\n \n", True), (b"<html>\n" + GOOD, True), (GOOD[:-9], False), (b"<html>\n", False)],
)
def test_a_file_that_ends_in_a_damaged_line_is_known(last: bytes, ends_whole: bool) -> None:
    """Such a file may have been cut there."""
    joining = joiner(["a"])
    joining.begin("file x", skips_damage=True)
    joining.feed(GOOD)
    joining.feed(last)

    assert joining.ends_whole == ends_whole


@pytest.mark.parametrize("custom_id", ['"', "\\", "\n", "\u2028é", "\x7f"])
def test_an_id_is_json_in_its_row(custom_id: str) -> None:
    """Also one that needs escapes, among others that need none."""
    rows = settle(joiner(["plain", custom_id]), [encode(success(custom_id)), encode(success("plain"))])

    assert [row["custom_id"] for row in rows] == ["plain", custom_id]
