from __future__ import annotations

import httpx

from airflow_batch_provider.sandbox import SandboxServer
from tests.sandbox.support import ShortClient, rows


def control(server: SandboxServer, path: str) -> str:
    return server.url.removesuffix("/v1") + path


def test_a_greeting_says_that_it_is_up(server: SandboxServer) -> None:
    """GET / is text."""
    answer = httpx.get(control(server, "/"))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")


def test_another_process_can_set_faults(server: SandboxServer, client: ShortClient) -> None:
    """PUT replaces them, GET shows them, DELETE removes them."""
    url = control(server, "/sandbox/faults")
    fault = {"route": "GET /files", "kind": "status", "status": 503, "times": 1}

    assert httpx.put(url, json=[fault]).json() == [fault]
    assert httpx.get(url).json() == [fault]
    assert client.http.get("/files").status_code == 503
    assert httpx.get(url).json() == []

    httpx.put(url, json=[{"route": "*", "kind": "drop"}])

    assert httpx.delete(url).json() == []
    assert client.http.get("/files").status_code == 200


def test_impossible_faults_are_refused(server: SandboxServer) -> None:
    """A 400 says what is wrong with them."""
    answer = httpx.put(control(server, "/sandbox/faults"), json=[{"route": "*", "kind": "explode"}])

    assert (answer.status_code, "explode" in answer.text) == (400, True)


def test_another_process_can_see_the_state(server: SandboxServer, client: ShortClient) -> None:
    """Calls, files and batches, as the programmatic side has them."""
    batch_id = client.submit(rows(1), "stall=true")
    state = httpx.get(control(server, "/sandbox/state")).json()

    assert state["calls"] == {"POST /files": 1, "POST /batches": 1} == dict(server.calls)
    assert [batch["id"] for batch in state["batches"]] == [batch_id]
    assert [file["purpose"] for file in state["files"]] == ["batch"]
