from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.sandbox import SandboxServer
from tests.sandbox.support import FakeClock, ShortClient, rows


@pytest.fixture
def five(client: ShortClient) -> list[str]:
    """Return the ids of five batches, newest first."""
    file_id = client.upload(rows(1))
    return [client.post_batch(input_file_id=file_id).json()["id"] for _ in range(5)][::-1]


def test_lists_are_newest_first(client: ShortClient, five: list[str]) -> None:
    """Without parameters a list has the newest batches."""
    found = client.http.get("/batches").json()

    assert [batch["id"] for batch in found["data"]] == five
    assert (found["object"], found["has_more"], found["first_id"], found["last_id"]) == (
        "list",
        False,
        five[0],
        five[-1],
    )


def test_pages_join_up(client: ShortClient, five: list[str]) -> None:
    """after and limit walk through all batches."""
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    more = True
    while more:
        page = client.http.get("/batches", params=query).json()
        found += [batch["id"] for batch in page["data"]]
        query["after"], more = page["last_id"], page["has_more"]

    assert found == five


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
def test_impossible_pages_are_refused(client: ShortClient, query: str) -> None:
    """A page has 1 to 100 batches."""
    assert client.http.get(f"/batches?{query}").status_code == 400


def test_a_list_shows_what_the_clock_says(client: ShortClient, clock: FakeClock, five: list[str]) -> None:
    """Work that is due is done for lists as it is for single batches."""
    clock.advance(100)
    found = client.http.get("/batches").json()["data"]

    assert {batch["status"] for batch in found} == {"completed"}
    assert len({batch["output_file_id"] for batch in found}) == len(five)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/batches/batch_x"), ("POST", "/batches/batch_x/cancel"), ("GET", "/batches?after=batch_x")],
)
def test_unknown_batches_are_not_found(client: ShortClient, method: str, path: str) -> None:
    """A 404 in OpenAI's words."""
    answer = client.http.request(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No batch found with id 'batch_x'."


@pytest.mark.parametrize("headers", [{"content-type": "application/json"}, {}])
def test_cancel_needs_no_body(client: ShortClient, headers: dict[str, str]) -> None:
    """Gateways send an empty body with a content type that promises JSON."""
    batch_id = client.submit(rows(1))

    assert client.http.post(f"/batches/{batch_id}/cancel", headers=headers).json()["status"] == "cancelling"


def test_bodies_may_be_chunked(client: ShortClient) -> None:
    """Nothing depends on a content length."""
    body = b'{"endpoint":"/v1/chat/completions","completion_window":"24h","input_file_id":"%s"}'
    pieces = iter([body[:20], body[20:] % client.upload(rows(1)).encode()])

    assert client.http.post("/batches", content=pieces).status_code == 200


def test_huge_bodies_are_refused(client: ShortClient) -> None:
    """A megabyte is more than any order needs."""
    assert client.http.post("/batches", content=b" " * 1_100_000).status_code == 413


def test_waiting_batches_are_only_records(server: SandboxServer, client: ShortClient) -> None:
    """Nothing runs for a batch nobody asks about."""
    file_id = client.upload(rows(1))
    for _ in range(200):
        client.post_batch(input_file_id=file_id)

    assert server._sandbox._workers._work_queue.qsize() == 0
    assert len(server.files()) == 1
