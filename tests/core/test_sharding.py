"""Requests -> shards: every line in exactly one, limits held, order kept."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.core.limits import BYTES_PER_TOKEN, BatchLimits
from airflow_batch_provider.core.sharding import MAX_MODELS, Planned, ShardPlanner
from tests.core.support import CHAT, line

EMBEDDINGS = "/v1/embeddings"
Call = tuple[str, str | None, int]  # endpoint, model, size of the prompt


def raw(number: int, call: Call) -> bytes:
    endpoint, model, size = call
    return line(f"row-{number}", url=endpoint, body={"model": model, "input": "x" * size})


def plan(planner: ShardPlanner, *blocks: list[bytes]) -> dict[int, tuple[list[bytes], list[int]]]:
    """Lines and positions of each shard, by its number."""
    found: dict[int, tuple[list[bytes], list[int]]] = defaultdict(lambda: ([], []))
    for block in blocks:
        for planned in planner.feed(block):
            assert isinstance(planned, Planned)
            assert len(planned.lines) == len(planned.indices)
            found[planned.shard.number][0].extend(planned.lines)
            found[planned.shard.number][1].extend(planned.indices)
    return {number: parts for number, parts in sorted(found.items()) if parts[0]}


calls = st.tuples(st.sampled_from([CHAT, EMBEDDINGS]), st.sampled_from(["a", "b", "c", None]), st.integers(0, 200))


@given(
    st.lists(calls, min_size=1, max_size=60),
    st.integers(1, 12),
    st.integers(400, 1500),
    st.none() | st.integers(150, 400),
    st.booleans(),
    st.lists(st.integers(1, 20), min_size=60, max_size=60),
)
def test_every_request_is_in_one_shard_that_fits(
    found: list[Call],
    max_requests: int,
    max_bytes: int,
    max_tokens: int | None,
    one_model: bool,
    block_sizes: list[int],
) -> None:
    """Any interleaving of groups and sizes: each line once, in order, within the limits, at the right position."""
    limits = BatchLimits(max_requests, max_bytes, max_tokens, one_model)
    lines = [raw(number, call) for number, call in enumerate(found)]
    blocks, rest = [], lines
    for size in block_sizes:
        blocks.append(rest[:size])
        rest = rest[size:]
    planner = ShardPlanner(limits)

    shards = plan(planner, *blocks)

    assert planner.problems == []
    assert sorted(index for _, indices in shards.values() for index in indices) == list(range(len(lines)))
    groups: dict[int, list[int]] = defaultdict(list)
    for shard in planner.shards:
        kept, indices = shards[shard.number]
        assert kept == [lines[index] for index in indices]
        assert (shard.requests, shard.bytes) == (len(kept), sum(map(len, kept)))
        assert shard.requests <= max_requests
        assert shard.bytes <= min(max_bytes, (max_tokens or max_bytes) * BYTES_PER_TOKEN)
        assert {found[index][0] for index in indices} == {shard.endpoint}
        assert found[indices[0]][1] == shard.model
        assert not one_model or {found[index][1] for index in indices} == {shard.model}
        groups[shard.group] += indices
    assert [shard.number for shard in planner.shards] == list(range(len(shards)))
    assert all(indices == sorted(indices) for indices in groups.values())
    kinds = {(call[0], call[1] if one_model else None) for call in found}
    assert sorted(groups) == list(range(len(kinds)))
    # Shards are filled: the first line of the next one of its group would not have fitted.
    for shard in planner.shards:
        later = [other for other in planner.shards if other.group == shard.group and other.number > shard.number]
        if later:
            size = shard.bytes + len(shards[later[0].number][0][0])
            assert shard.requests == max_requests or size > limits.effective_bytes
    assert len(planner.hashes) == len(set(planner.hashes)) == len(lines)


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(line("a"), id="plain"),
        pytest.param(line("a").rstrip(b"\n"), id="no-line-break"),
        pytest.param(line("a").replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + line("a"), id="bom"),
        pytest.param(b"  \t" + line("a").rstrip() + b" \n", id="blanks-around"),
    ],
)
def test_lines_are_cleaned(good: bytes) -> None:
    """Whatever editors leave around a request, the shard gets it with one line break."""
    shards = plan(ShardPlanner(BatchLimits()), [good, b"\n", b" \r\n", line("b")])

    assert shards[0] == ([line("a"), line("b")], [0, 1])


@pytest.mark.parametrize("indent", [pytest.param(b"", id="flush"), pytest.param(b" \t", id="indented")])
def test_a_missing_custom_id_is_assigned_by_position(indent: bytes) -> None:
    """The request's own bytes stay, and the line is still JSON; ids given by the user are kept."""
    planner = ShardPlanner(BatchLimits())
    shards = plan(planner, [line("mine"), indent + line(None), indent + line(None)])

    found = [json.loads(each) for each in shards[0][0]]
    assert [each.pop("custom_id") for each in found] == ["mine", "request-00000001", "request-00000002"]
    assert found[1] == found[2] == json.loads(line(None))
    assert planner.shards[0].bytes == sum(map(len, shards[0][0]))


@pytest.mark.parametrize(
    ("bad", "text", "field"),
    [
        pytest.param(b"{\n", "not JSON", None, id="not-json"),
        pytest.param(b"[]\n", "not a JSON object", None, id="list"),
        pytest.param(line("x", body={"t": "\u00e9"}).replace(b"\\u00e9", b"\xe9"), "not UTF-8", None, id="latin-1"),
        pytest.param(line("x").replace(b'"m"', b"[" * 5000 + b"]" * 5000), "nested too deeply", None, id="deep"),
        pytest.param(line("x").replace(b'"m"', b'"m", "t": NaN'), "NaN", None, id="nan"),
        pytest.param(line(""), '"custom_id" is empty', "custom_id", id="empty-id"),
        pytest.param(line(7), '"custom_id" is not a string', "custom_id", id="number-id"),
        pytest.param(line("x", method="GET"), '"method" is "GET"', "method", id="method"),
        pytest.param(line("x", method=None), '"method" is missing', "method", id="no-method"),
        pytest.param(line("x", url=""), '"url" is empty', "url", id="empty-url"),
        pytest.param(line("x", url=None), '"url" is missing', "url", id="no-url"),
        pytest.param(line("x", body=[]), '"body" is not a JSON object', "body", id="body"),
        pytest.param(line("x", body={"model": 5}), '"model" in "body" is not a string', "body", id="model"),
        pytest.param(
            line("x", body={"t": "y" * 900}), "bytes, but the service takes 900 in a whole batch", None, id="size"
        ),
    ],
)
def test_a_bad_line_is_a_problem_with_its_number(bad: bytes, text: str, field: str | None) -> None:
    """Named by line and field, without its content; the lines around it are planned."""
    planner = ShardPlanner(BatchLimits(max_bytes=900))
    shards = plan(planner, [line("a"), b"\n", bad, line("b")])

    assert [(problem.line_number, problem.field) for problem in planner.problems] == [(3, field)]
    assert text in planner.problems[0].text
    assert planner.problem_count == 1
    assert shards[0] == ([line("a"), line("b")], [0, 1])


def test_an_endpoint_that_was_asked_for_must_be_that_of_every_request() -> None:
    """With an endpoint given, lines for another are problems; without one they are shards of their own."""
    lines = [line("a"), line("b", url=EMBEDDINGS)]
    strict, lenient = ShardPlanner(BatchLimits(), CHAT), ShardPlanner(BatchLimits())
    plan(strict, lines)
    plan(lenient, lines)

    assert str(strict.problems[0]) == f'line 2: "url" is "{EMBEDDINGS}" but the batch is for "{CHAT}"'
    assert [shard.endpoint for shard in lenient.shards] == [CHAT, EMBEDDINGS]


def test_a_request_of_just_the_limit_fits() -> None:
    """The limit itself is allowed, one byte less is not."""
    size = len(line("a"))
    exact, short = ShardPlanner(BatchLimits(max_bytes=size)), ShardPlanner(BatchLimits(max_bytes=size - 1))

    assert len(plan(exact, [line("a"), line("b")])) == 2
    assert plan(short, [line("a")]) == {}
    assert short.problem_count == 1


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        pytest.param(
            BatchLimits(max_bytes=900, max_tokens=200),
            "about 301 tokens (901 bytes), but one batch may hold 200 tokens (max_tokens)",
            id="tokens",
        ),
        pytest.param(
            BatchLimits(max_bytes=901, max_tokens=300),
            "about 301 tokens (901 bytes), but one batch may hold 300 tokens (max_tokens)",
            id="one-byte-more",
        ),
        pytest.param(
            BatchLimits(max_bytes=900, max_tokens=300),
            "901 bytes, but the service takes 900 in a whole batch",
            id="same",
        ),
        pytest.param(
            BatchLimits(max_bytes=900, max_tokens=5000),
            "901 bytes, but the service takes 900 in a whole batch",
            id="bytes",
        ),
    ],
)
def test_a_request_over_the_limit_is_told_the_limit_that_was_set(limits: BatchLimits, text: str) -> None:
    """Who limits tokens has not written a number of bytes anywhere."""
    planner = ShardPlanner(limits)
    planner.feed([line("a", body={"t": "x" * (901 - len(line("a", body={"t": ""})))})])

    assert str(planner.problems[0]) == f"line 1: {text}"


@pytest.mark.parametrize("one_model", [False, True])
@pytest.mark.parametrize("block", [1, 2, 5, 100])
def test_models_are_noted_in_the_order_in_which_they_come(one_model: bool, block: int) -> None:
    """Those of the requests that are planned, each once, in whatever blocks they come."""
    models = ["b", "b", "b", "a", None, "a", "b", "c", "c", "d"] * 2
    lines = [raw(number, (CHAT, model, 1)) for number, model in enumerate(models)]
    lines.insert(0, line("x", body={"model": "refused"}, method="GET"))
    planner = ShardPlanner(BatchLimits(one_model=one_model))
    plan(planner, *(lines[number : number + block] for number in range(0, len(lines), block)))

    assert list(planner.models) == ["b", "a", "c", "d"]


@pytest.mark.parametrize("block", [1, 100])
def test_as_many_models_are_noted_as_a_reader_can_take_in(block: int) -> None:
    """An input with a model of its own in each line costs no memory."""
    lines = [raw(number, (CHAT, f"m{number}", 1)) for number in range(100)]
    planner = ShardPlanner(BatchLimits())
    plan(planner, [raw(100, (CHAT, "m0", 1))], *(lines[number : number + block] for number in range(0, 100, block)))

    assert list(planner.models) == [f"m{number}" for number in range(MAX_MODELS)]


def test_all_problems_are_counted_and_ten_kept() -> None:
    """A wholly wrong file of millions of lines costs no memory."""
    planner = ShardPlanner(BatchLimits())
    for _ in range(50):
        planner.feed([b"x\n"] * 100)

    assert (planner.problem_count, len(planner.problems), planner.line_number) == (5000, 10, 5000)


def test_more_groups_than_there_may_be_are_refused_by_line() -> None:
    """Before anything is sent, and not by an operating system that has no more files to give."""
    planner = ShardPlanner(BatchLimits(one_model=True), max_groups=2)
    plan(planner, [raw(number, (CHAT, model, 1)) for number, model in enumerate("abcabcd")])

    assert planner.requests == 4
    assert [problem.line_number for problem in planner.problems] == [3, 6, 7]
    assert 'an input may have 2 pairs of "url" and "model"' in planner.problems[0].text
    assert {(problem.field, problem.custom_id) for problem in planner.problems} == {
        ("model", "row-2"), ("model", "row-5"), ("model", "row-6")
    }  # fmt: skip


def test_problems_never_show_the_data() -> None:
    """Prompts stay out of logs."""
    planner = ShardPlanner(BatchLimits(max_bytes=300))
    secret: dict[str, Any] = {"prompt": "the secret " * 30}
    planner.feed([line("a", body=secret), line("b", body=secret)[:-5], line("c", body="the secret")])

    assert planner.problem_count == 3
    assert "secret" not in str(planner.problems)
