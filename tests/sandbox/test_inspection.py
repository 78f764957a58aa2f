from __future__ import annotations

from pathlib import Path

import pytest

from airflow_batch_provider.sandbox.directives import Directives
from airflow_batch_provider.sandbox.inspection import MAX_ERRORS, inspect
from airflow_batch_provider.sandbox.settings import Limits
from airflow_batch_provider.sandbox.timeline import Facts
from tests.sandbox.support import CHAT, row, rows


def facts_of(
    folder: Path, content: bytes, *, limits: Limits | None = None, directives: Directives | None = None
) -> Facts:
    path = folder / "in.jsonl"
    path.write_bytes(content)
    return inspect(path, endpoint=CHAT, limits=limits or Limits(), directives=directives or Directives())


def test_good_input_has_no_findings(tmp_path: Path) -> None:
    """A good file is its number of rows, and of those that will fail."""
    content = rows(3) + row("x", {"model": "sandbox-fail-500", "messages": []})

    assert facts_of(tmp_path, content) == Facts(rows=4, failing=1)


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        pytest.param(b"{not json}\n", "invalid_json_line", None, id="no json"),
        pytest.param(b'{"custom_id":"\xff"}\n', "invalid_json_line", None, id="no UTF-8"),
        pytest.param(b'{"body":{"x":"\\ud800"}}\n', "invalid_json_line", None, id="half a character"),
        pytest.param(b"[1]\n", "invalid_json_line", None, id="no object"),
        pytest.param(b"\n", "invalid_json_line", None, id="blank"),
        pytest.param(row("x", custom_id=None), "missing_required_parameter", "custom_id", id="no id"),
        pytest.param(row("x", custom_id=5), "invalid_type", "custom_id", id="id of another type"),
        pytest.param(row("row-0"), "duplicate_custom_id", "custom_id", id="duplicate"),
        pytest.param(row("x", method=None), "missing_required_parameter", "method", id="no method"),
        pytest.param(row("x", method="GET"), "invalid_method", "method", id="method"),
        pytest.param(row("x", url=None), "missing_required_parameter", "url", id="no url"),
        pytest.param(row("x", url="/v1/embeddings"), "url_mismatch", "url", id="url"),
        pytest.param(
            b'{"custom_id":"x","method":"POST","url":"/v1/chat/completions","body":"text"}\n',
            "missing_required_parameter",
            "body",
            id="no body",
        ),
        pytest.param(row("x", {"messages": []}), "missing_required_parameter", "body.model", id="no model"),
        pytest.param(row("x", {"model": "other"}), "model_mismatch", "body.model", id="mixed models"),
        pytest.param(row("x", {"model": "sandbox-missing-model"}), "invalid_model", "body.model", id="unknown model"),
    ],
)
def test_findings_name_line_and_field(tmp_path: Path, line: bytes, code: str, param: str | None) -> None:
    """Whatever is wrong with a line is found, with its number, code and field."""
    (error,) = facts_of(tmp_path, rows(1) + line).errors

    assert (error.line, error.code, error.param) == (2, code, param)
    assert error.message


@pytest.mark.parametrize("content", [b"", rows(4)])
def test_the_number_of_requests_is_limited(tmp_path: Path, content: bytes) -> None:
    """No rows are as wrong as too many."""
    (error,) = facts_of(tmp_path, content, limits=Limits(max_requests=3)).errors

    assert error.code == ("too_many_tasks" if content else "empty_file")


def test_the_size_is_limited(tmp_path: Path) -> None:
    """Files and lines that are too large are findings of the file."""
    (large,) = facts_of(tmp_path, rows(2), limits=Limits(max_batch_bytes=10)).errors
    (long,) = facts_of(tmp_path, rows(2), limits=Limits(max_line_bytes=10)).errors

    assert (large.code, long.code) == ("file_too_large", "line_too_long")


def test_sandbox_models_may_be_mixed(tmp_path: Path) -> None:
    """They steer single rows; only real names have to be the same."""
    content = row("a") + row("b", {"model": "sandbox-echo"}) + row("c", {"model": "sandbox-fail-429"}) + row("d")

    assert facts_of(tmp_path, content).errors == ()


def test_findings_are_bounded(tmp_path: Path) -> None:
    """A file of nothing but mistakes is not read to its end."""
    assert len(facts_of(tmp_path, b"x\n" * 1_000).errors) == MAX_ERRORS


def test_a_batch_can_be_made_to_fail(tmp_path: Path) -> None:
    """Directives fail good input: for no reason, or because the queue is full."""
    (plain,) = facts_of(tmp_path, rows(1), directives=Directives(outcome="failed")).errors
    (queue,) = facts_of(tmp_path, rows(1), directives=Directives(queue_full=True)).errors

    assert (plain.code, queue.code) == ("sandbox_failed", "token_limit_exceeded")
    assert queue.line is None
