from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import RequestChecker, clean_line
from airflow_batch_provider.exceptions import InputError
from tests.core.support import CHAT, line

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
bodies = st.dictionaries(st.text(max_size=5), values, max_size=3)


def raw_line(number: int, body: dict[str, Any], ascii_only: bool) -> bytes:
    fields = {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body}
    return json.dumps(fields, ensure_ascii=ascii_only).encode() + b"\n"


@given(st.lists(bodies, min_size=1, max_size=8), st.booleans())
def test_cleaning_a_clean_file_changes_nothing(found: list[dict[str, Any]], ascii_only: bool) -> None:
    """Any text in any body goes to the service byte for byte."""
    lines = [raw_line(number, body, ascii_only) for number, body in enumerate(found)]
    checker = RequestChecker(BatchLimits())
    checker.feed(lines)

    assert [clean_line(line, is_first=number == 0) for number, line in enumerate(lines)] == lines
    assert not checker.result("in").needs_cleaning


@given(st.binary(max_size=40), st.booleans())
def test_cleaning_twice_is_cleaning_once(raw: bytes, is_first: bool) -> None:
    """What is cleaned is clean, whatever it was."""
    once = clean_line(raw.replace(b"\n", b""), is_first=is_first)

    assert once == b"" or once.endswith(b"\n")
    assert clean_line(once, is_first=False) == once


# Kinds of lines with the number of problems each adds.
KINDS: dict[str, int] = {
    "good": 0,
    "blank": 0,
    "cut": 1,
    "list": 1,
    "no-fields": 4,
    "other-url": 1,
    "twice": 1,
    "get": 1,
}


def build(kinds: list[str]) -> list[bytes]:
    """Lines of these kinds, after a good one whose id "first" the duplicates repeat."""
    made: dict[str, Callable[[str], bytes]] = {
        "blank": lambda name: b"\n",
        "cut": lambda name: line(name)[:-9],
        "list": lambda name: b"[]\n",
        "no-fields": lambda name: b"{}\n",
        "other-url": lambda name: line(name, url="/v1/embeddings"),
        "twice": lambda name: line("first"),
        "get": lambda name: line(name, method="GET"),
        "good": line,
    }
    return [line("first"), *(made[kind](f"row-{number}") for number, kind in enumerate(kinds))]


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=40), st.integers(1, 7))
def test_every_problem_is_counted_once(kinds: list[str], block: int) -> None:
    """Whatever the mixture and however it is cut into blocks, the number of problems is exact."""
    lines, expected = build(kinds), sum(KINDS[kind] for kind in kinds)
    checker = RequestChecker(BatchLimits())
    for start in range(0, len(lines), block):
        checker.feed(lines[start : start + block])

    assert checker.problem_count == expected
    assert checker.requests == 1 + sum(kind != "blank" for kind in kinds)
    if not expected:
        assert checker.result("in.jsonl").endpoint == CHAT
        return
    with pytest.raises(InputError) as caught:
        checker.result("in.jsonl")
    assert len(caught.value.problems) == min(expected, 10)
