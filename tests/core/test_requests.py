from __future__ import annotations

from collections.abc import Iterable

import pytest

from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import CheckedRequests, RequestChecker, clean_line
from airflow_batch_provider.exceptions import InputError
from tests.core.support import CHAT, line

BOM = b"\xef\xbb\xbf"


def check(
    lines: Iterable[bytes], endpoint: str | None = None, *, max_requests: int = 50_000, max_bytes: int = 200_000_000
) -> CheckedRequests:
    checker = RequestChecker(BatchLimits(max_requests, max_bytes), endpoint)
    checker.feed(lines)
    return checker.result("in.jsonl")


def refusal(lines: Iterable[bytes], endpoint: str | None = None, **limits: int) -> InputError:
    with pytest.raises(InputError) as caught:
        check(lines, endpoint, **limits)
    return caught.value


def test_good_requests_pass() -> None:
    """Number, size and endpoint of a clean file are known, and it needs no cleaning."""
    lines = [line("a"), line("b")]

    assert check(lines) == CheckedRequests(2, len(b"".join(lines)), CHAT, needs_cleaning=False)


@pytest.mark.parametrize(
    ("bad", "text", "field"),
    [
        pytest.param(b'{"custom_id": "a", \n', "not JSON (unexpected end of data at column 19)", None, id="cut"),
        pytest.param(b'{"custom_id" "a"}\n', "not JSON (expected ':' at column 14)", None, id="no-colon"),
        pytest.param(b"nonsense\n", "not JSON (invalid character at column 5)", None, id="no-json"),
        pytest.param(line()[:-1] + b" {}\n", "not JSON (trailing characters at column 162)", None, id="two-objects"),
        pytest.param(b'{"a": "\xc3("}\n', "not UTF-8 (at byte 8)", None, id="no-utf8"),
        pytest.param(line().replace(b"secret", b"\xff"), "not UTF-8 (at byte 142)", None, id="no-utf8-in-the-body"),
        pytest.param(b"[1]\n", "not a JSON object", None, id="list"),
        pytest.param(b"null\n", "not a JSON object", None, id="null"),
        pytest.param(line(None), '"custom_id" is missing', "custom_id", id="no-id"),
        pytest.param(line(5), '"custom_id" is not a string', "custom_id", id="id-is-a-number"),
        pytest.param(line(""), '"custom_id" is empty', "custom_id", id="empty-id"),
        pytest.param(line(method=None), '"method" is missing', "method", id="no-method"),
        pytest.param(line(method=1), '"method" is not a string', "method", id="method-is-a-number"),
        pytest.param(line(method="GET"), '"method" is "GET" but must be "POST"', "method", id="method-is-get"),
        pytest.param(line(url=None), '"url" is missing', "url", id="no-url"),
        pytest.param(line(url=""), '"url" is empty', "url", id="empty-url"),
        pytest.param(line(url="/x"), f'"url" is "/x" but the batch is for "{CHAT}"', "url", id="other-url"),
        pytest.param(line(body=None), '"body" is missing', "body", id="no-body"),
        pytest.param(line(body=[1]), '"body" is not a JSON object', "body", id="body-is-a-list"),
        pytest.param(line(body="{}"), '"body" is not a JSON object', "body", id="body-is-text"),
        pytest.param(line(body=""), '"body" is not a JSON object', "body", id="body-is-empty"),
        pytest.param(
            b'{"custom_id": 5, ' + line()[1:], "not a well-formed request (is a field there twice?)", None, id="twice"
        ),
        pytest.param(line(body={"a": "x"}).replace(b'"x"', b"[" * 5_000), "nested too deeply", None, id="deep"),
        pytest.param(
            line(body={"a": "\ud800"}),
            "not JSON (NaN, Infinity or half a surrogate pair, which many services refuse)",
            None,
            id="half-a-surrogate-pair",
        ),
    ],
)
def test_each_fault_has_its_own_text(bad: bytes, text: str, field: str | None) -> None:
    """Line, what is wrong, and the field; the rest of the line is never shown."""
    error = refusal([line("good"), bad], CHAT)
    (problem,) = error.problems

    assert problem[0] == 2
    assert problem[1] == text
    assert problem[3] == field
    assert f"  line 2: {text}\n" in str(error)
    assert "prompt" not in repr(error)


def test_a_line_with_several_faults_names_them_all() -> None:
    """One run over the file is enough to repair it."""
    error = refusal([b'{"method": 1, "body": 2}\n'])

    assert [problem[3] for problem in error.problems] == ["custom_id", "method", "url", "body"]


def test_the_error_reads_like_a_letter() -> None:
    """Name, number of problems, lines looked at, the places, what to do."""
    lines = [line("row-1"), line("row-1"), b"\n", b"{\n", line("row-3", url="/v1/embeddings")]

    assert str(refusal(lines)) == (
        "in.jsonl has 3 problems in 5 lines; nothing was sent.\n"
        '  line 2: custom_id "row-1" was already used in line 1\n'
        "  line 4: not JSON (unexpected end of data at column 2)\n"
        '  line 5: "url" is "/v1/embeddings" but the batch is for "/v1/chat/completions"\n'
        "Fix the file and run again. (Shown: all 3.)"
    )


def test_ten_problems_are_shown_and_all_are_counted() -> None:
    """A file that is wrong on every line gives a short text; memory holds ten problems."""
    error = refusal([b"{\n"] * 1_234)

    assert len(error.problems) == 10
    assert str(error).startswith("in.jsonl has 1,234 problems in 1,234 lines")
    assert str(error).endswith("(Shown: the first 10 of 1,234.)")


def test_problems_are_plain_values() -> None:
    """InputError.problems serves programs: (line, text, custom_id, field)."""
    error = refusal([line("a"), line("a", method="GET"), line("b", method="GET")])

    assert [tuple(problem) for problem in error.problems] == [
        (2, 'custom_id "a" was already used in line 1', "a", "custom_id"),
        (3, '"method" is "GET" but must be "POST"', "b", "method"),
    ]
    assert not error.retryable


def test_what_is_shown_of_a_line_is_short_and_on_one_line() -> None:
    """An id or URL of a megabyte, or with line breaks in it, does not flood or forge the log."""
    long, forged = "x" * 1_000_000, "a\nERROR all is lost"
    text = str(refusal([line(long, url=long), line(long), line(forged), line(forged), line("c", url="/v1")]))

    assert len(text) < 600
    assert "\nERROR" not in text


def test_the_endpoint_is_that_of_the_first_request_or_given() -> None:
    """Without an endpoint the first request decides; with one it is held against all."""
    assert check([line(url="/v1/embeddings")]).endpoint == "/v1/embeddings"
    assert refusal([line(url="/v1/embeddings")], CHAT).problems[0][3] == "url"


def test_an_empty_file_is_a_problem() -> None:
    """Blank lines are no requests."""
    assert "in.jsonl has 1 problem in 2 lines; nothing was sent.\n  no requests in it\n" in str(
        refusal([b"\n", b" \r\n"])
    )
    assert refusal([]).problems[0][0] == 0


def test_limits_are_the_services() -> None:
    """As many requests and bytes as allowed pass, one more does not."""
    lines = [line("a"), line("b")]
    size = len(b"".join(lines))

    assert check(lines, max_requests=2, max_bytes=size).bytes == size
    assert "2 requests, but the service takes 1 per batch" in str(refusal(lines, max_requests=1))
    assert f"{size} bytes, but the service takes {size - 1} per batch" in str(refusal(lines, max_bytes=size - 1))


def test_ids_beyond_the_limit_are_not_remembered() -> None:
    """A file of a billion requests is refused with the memory of one batch."""
    checker = RequestChecker(BatchLimits(max_requests=10))
    checker.feed(line(f"row-{number}") for number in range(100))

    assert len(checker._line_of_id) == 10
    assert checker.requests == 100


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([line("a")[:-1] + b"\r\n", line("b")[:-1] + b"\r\n"], id="crlf"),
        pytest.param([BOM + line("a"), line("b")], id="byte-order-mark"),
        pytest.param([b"\n", line("a"), b"\r\n", line("b"), b"  \n"], id="blank-lines"),
        pytest.param([line("a"), line("b")[:-1]], id="no-last-newline"),
        pytest.param([line("a"), line("b")[:-1] + b"\r"], id="last-line-ends-with-cr"),
        pytest.param([line("a"), b" " + line("b")[:-1]], id="last-line-begins-with-a-blank"),
    ],
)
def test_harmless_dirt_is_cleaned(raw: list[bytes]) -> None:
    """What editors leave behind is no fault, but is not sent either: the size is that of the clean file."""
    clean = line("a") + line("b")
    cleaned = b"".join(clean_line(dirty, is_first=number == 0) for number, dirty in enumerate(raw))

    assert cleaned.replace(b" {", b"{") == clean.replace(b" {", b"{")
    assert check(raw) == CheckedRequests(2, len(cleaned), CHAT, needs_cleaning=True)


def test_a_byte_order_mark_in_the_middle_is_a_fault() -> None:
    """Joined files have one there, and services refuse it."""
    assert refusal([line("a"), BOM + line("b")]).problems[0][0] == 2


def test_other_line_separators_are_ordinary_characters() -> None:
    """U+2028 and U+0085 stand inside JSON strings and end no line."""
    raw = line("a").replace(b"secret", "se\u2028cr\u0085et".encode())

    assert check([raw]).requests == 1
    assert clean_line(raw, is_first=True) == raw


def test_the_body_may_hold_anything() -> None:
    """Bodies are the service's business: numbers out of range, twice-given and unknown fields pass."""
    raw = line("a", body={"n": 7}, more={}).replace(b"7}", b'1e999, "n": 2, "custom_id": 5}')

    assert check([raw]).requests == 1
