from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.client import calls
from airflow_batch_provider.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("remote_id", "segment"),
    [
        ("batch_abc-1.2~", "batch_abc-1.2~"),
        ("arn%3Aaws%3Abedrock%2Fjob", "arn%3Aaws%3Abedrock%2Fjob"),
        ("arn:aws:bedrock/job", "arn%3Aaws%3Abedrock%2Fjob"),
        ("../files/x", "..%2Ffiles%2Fx"),
        ("a?b#c d", "a%3Fb%23c%20d"),
        ("ä", "%C3%A4"),
        ("...", "..."),
    ],
)
def test_ids_are_path_segments(remote_id: str, segment: str) -> None:
    """What a service encoded goes back verbatim, and nothing can leave its place in the path."""
    assert calls.path_id(remote_id) == segment


@pytest.mark.parametrize("remote_id", ["", ".", ".."])
def test_ids_that_are_another_route_are_refused(remote_id: str) -> None:
    """DELETE /files/.. would be DELETE of the base URL; an empty template gives such ids."""
    with pytest.raises(ConfigurationError, match="cannot be the id of a file or batch"):
        calls.path_id(remote_id)


@pytest.mark.parametrize(
    ("call", "method", "path", "params"),
    [
        pytest.param(calls.get_file("f"), "GET", "/files/f", {}, id="get-file"),
        pytest.param(calls.delete_file("f"), "DELETE", "/files/f", {}, id="delete-file"),
        pytest.param(calls.list_files(None, 5, None), "GET", "/files", {"limit": "5"}, id="list-files"),
        pytest.param(
            calls.list_files("c", 5, "batch"),
            "GET",
            "/files",
            {"limit": "5", "after": "c", "purpose": "batch"},
            id="files-on",
        ),
        pytest.param(calls.get_batch("b"), "GET", "/batches/b", {}, id="get-batch"),
        pytest.param(calls.cancel_batch("b"), "POST", "/batches/b/cancel", {}, id="cancel"),
        pytest.param(calls.list_batches(None, 100), "GET", "/batches", {"limit": "100"}, id="list-batches"),
        pytest.param(calls.list_batches("c", 1), "GET", "/batches", {"limit": "1", "after": "c"}, id="batches-on"),
    ],
)
def test_each_route_stands_once(call: calls.Call[Any], method: str, path: str, params: dict[str, str]) -> None:
    """Method, path and query of the OpenAI reference; all of these may be repeated."""
    assert (call.method, call.path, dict(call.params), call.body) == (method, path, params, None)
    assert call.is_repeatable


def test_only_the_paid_call_is_not_repeatable() -> None:
    """Creating a batch twice costs twice."""
    call = calls.create_batch({"a": 1})

    assert (call.method, call.path, call.body, call.is_repeatable) == ("POST", "/batches", {"a": 1}, False)


def test_a_batch_is_known_by_the_id_it_was_asked_with() -> None:
    """A service that answers with a longer spelling of the id must not make the wait endless."""
    found = calls.get_batch("job-1").read({"id": "arn:aws:bedrock:job/job-1", "status": "Completed"})

    assert found.id == "job-1"
    assert found.status.has_ended


@pytest.mark.parametrize(
    ("answer", "is_batch"),
    [
        ({"id": "b", "object": "batch", "status": "cancelling"}, True),
        ({"id": "b", "object": "batch", "status": "Stopping"}, True),
        ({"id": "b", "object": "batch", "status": "success"}, False),
        ({"id": "b", "object": "batch"}, False),
        ({"object": "batch", "status": "cancelling"}, False),
        ({"id": "b", "status": "cancelling"}, False),
        ({"status": "success"}, False),
        ({}, False),
        (None, False),
        ([], False),
    ],
)
def test_an_answer_to_cancel_is_a_batch_or_says_nothing(answer: Any, is_batch: bool) -> None:
    """Vertex answers {}, Cohere and Bedrock a "success" that is no status."""
    assert calls.is_batch(answer) is is_batch
