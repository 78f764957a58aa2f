"""Pages of the list, read quickly: the same batches as the slow way reads, whatever the service writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_batch_provider.client import glances, wire
from airflow_batch_provider.exceptions import ApiResponseError

BATCH = {
    "id": "b1",
    "object": "batch",
    "status": "in_progress",
    "created_at": 1_711_471_533,
    "request_counts": {"total": 10, "completed": 4, "failed": 1},
    "metadata": {"k": "v"},
}


def page(*items: Any, **fields: Any) -> bytes:
    return json.dumps({"object": "list", "data": items, "has_more": False, **fields}).encode()


def read(body: bytes) -> wire.Page[glances.Glance]:
    return glances.page_of_glances(glances.decode(body))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "InProgress"},
        {"status": "never heard of"},
        {"status": None},
        {"status": 7},
        {"request_counts": None},
        {"request_counts": {"total": "10", "completed": "4"}},
        {"request_counts": {"total": -1, "completed": 0, "failed": 0}},
        {"request_counts": [1]},
        {"created_at": "2026-11-23T08:00:00Z"},
        {"created_at": 1_711_471_533_123},
        {"created_at": None},
        {"created_at": {}},
        {"id": "arn:aws:bedrock:eu:1:job%2Fx"},
    ],
    ids=str,
)
def test_tells_what_the_batch_tells(changes: dict[str, Any]) -> None:
    """Id, status, counts and age are those that the reader of whole batches finds."""
    item = BATCH | changes
    whole = wire.batch_from_wire(item)
    (glance,) = read(page(item)).items
    batch = glance.to_batch()

    assert (batch.id, batch.status, batch.counts) == (whole.id, whole.status, whole.counts)
    assert batch.created_at == whole.created_at


def test_one_odd_batch_does_not_spoil_a_page() -> None:
    """Numbers as text somewhere: the whole page is read the patient way."""
    found = read(page(BATCH, BATCH | {"id": "b2", "request_counts": {"total": "3"}}))

    assert [glance.id for glance in found.items] == ["b1", "b2"]


@pytest.mark.parametrize(
    ("fields", "after"),
    [
        ({}, None),
        ({"has_more": True, "last_id": "x"}, "x"),
        ({"has_more": True}, "b1"),
        ({"has_more": True, "last_id": None}, "b1"),
        ({"has_more": True, "last_id": ""}, "b1"),
        ({"has_more": None}, None),
    ],
    ids=str,
)
def test_cursors_are_those_of_the_slow_way(fields: dict[str, Any], after: str | None) -> None:
    """Also for services that leave out the last id, or send an empty one."""
    body = page(BATCH, **fields)

    assert read(body).next_after == wire.page_from_wire(wire.batch_from_wire)(json.loads(body)).next_after == after


def test_an_empty_page_is_the_end() -> None:
    """Even when it says that there is more."""
    assert read(page(has_more=True)).next_after is None


@pytest.mark.parametrize("body", [b"{}", b'{"data": 1}', b'"text"', b'{"data": [{"no": "id"}]}', b'{"data": [1]}'])
def test_what_is_no_list_is_said(body: bytes) -> None:
    """An answer that is something else is an error of the service, as in the slow way."""
    with pytest.raises(ApiResponseError):
        read(body)


def test_the_mark_moves_with_status_and_counts() -> None:
    """The same again has the same mark; everything that is told changes it."""
    marks = set()
    for changes in ({}, {"status": "finalizing"}, {"request_counts": {"total": 10, "completed": 5, "failed": 1}}):
        (first,), (second,) = read(page(BATCH | changes)).items, read(page(BATCH | changes | {"metadata": {}})).items
        assert first.mark == second.mark
        marks.add(first.mark)

    assert len(marks) == 3
