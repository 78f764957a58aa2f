"""Files, pages, deletions, and any JSON at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.client.wire import (
    Page,
    batch_from_wire,
    deleted_from_wire,
    file_from_wire,
    moment_from_wire,
    page_from_wire,
)
from airflow_batch_provider.exceptions import ApiResponseError

AT = "2023-11-14T22:13:20Z"


def test_a_file_is_read() -> None:
    """Also Bedrock's, whose size is text and whose time is spelled in camel case."""
    found = file_from_wire(
        {"id": "f", "bytes": "12", "createdAt": 1_700_000_000_000, "filename": "a.jsonl", "purpose": "batch", "x": 1}
    )

    assert (found.bytes, found.filename, found.purpose, found.status) == (12, "a.jsonl", "batch", None)
    assert str(found.created_at) == str(moment_from_wire(AT))
    assert found.extra == {"createdAt": 1_700_000_000_000, "x": 1}


@pytest.mark.parametrize("size", [None, -1, "many", True, float("inf"), [1]])
def test_an_unusable_size_is_no_size(size: Any) -> None:
    """Downloads are not held against nonsense."""
    assert file_from_wire({"id": "f", "bytes": size}).bytes is None


read_page = page_from_wire(batch_from_wire)
ITEMS = [{"id": "b1"}, {"id": "b2"}]


@pytest.mark.parametrize(
    ("data", "after"),
    [
        pytest.param({"data": ITEMS, "has_more": True, "last_id": "b2"}, "b2", id="openai"),
        pytest.param({"data": ITEMS, "has_more": True}, "b2", id="no-last-id"),
        pytest.param({"data": ITEMS, "has_more": True, "last_id": ""}, "b2", id="empty-last-id"),
        pytest.param({"data": ITEMS, "has_more": False, "last_id": "b2"}, None, id="end"),
        pytest.param({"data": ITEMS, "last_id": "b2"}, None, id="no-has-more"),
        pytest.param(ITEMS, None, id="bare-list"),
    ],
)
def test_pages_of_all_shapes(data: Any, after: str | None) -> None:
    """The cursor is the last id, told or seen; a bare list is all there is."""
    page = read_page(data)

    assert [batch.id for batch in page.items] == ["b1", "b2"]
    assert page.next_after == after


def test_an_empty_page_is_the_end() -> None:
    """A service that says "more" without showing any would be asked for ever."""
    assert read_page({"data": [], "has_more": True, "last_id": "x"}) == Page((), None)


@pytest.mark.parametrize("data", [None, {}, {"data": None}, "list", {"data": {"id": "b"}}])
def test_what_is_no_list_is_refused(data: Any) -> None:
    """Read as an empty list, "could not ask" would become "not there"."""
    with pytest.raises(ApiResponseError, match="is not a list"):
        read_page(data)


def test_a_list_with_a_broken_entry_is_refused() -> None:
    """One unreadable batch may be the one that is looked for."""
    with pytest.raises(ApiResponseError, match="is not a batch"):
        read_page({"data": [{"id": "b"}, {}]})


@pytest.mark.parametrize(
    ("data", "deleted"),
    [({"deleted": True}, True), ({}, True), (None, True), ({"deleted": None}, True), ({"deleted": False}, False)],
)
def test_deleted_unless_denied(data: Any, deleted: bool) -> None:
    """Services answer a delete in many ways; only a plain no is one."""
    assert deleted_from_wire(data) is deleted


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda v: (
            st.lists(v)
            | st.dictionaries(
                st.sampled_from("id status errors data request_counts total metadata created_at message line".split()),
                v,
            )
        ),
    )
)
def test_no_json_breaks_the_reading(data: Any) -> None:
    """Any JSON is a batch or is refused by name; nothing else is raised."""
    try:
        found = batch_from_wire(data)
    except ApiResponseError:
        return
    assert json.dumps(found.to_dict())
