from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.client.pages import iter_items
from airflow_batch_provider.client.wire import Page
from tests.client.support import FakeService, client_of


def pages(**found: Page[str]) -> Any:
    """Pages by cursor; the first is called ``first``."""
    asked: list[str | None] = []

    def get_page(after: str | None) -> Page[str]:
        asked.append(after)
        assert len(asked) < 9, "asked for ever"
        return found[after or "first"]

    return get_page, asked


def test_all_pages_are_one_list() -> None:
    """Cursor by cursor to the end."""
    get_page, asked = pages(first=Page(("a", "b"), "b"), b=Page(("c",), "c"), c=Page((), None))

    assert list(iter_items(get_page)) == ["a", "b", "c"]
    assert asked == [None, "b", "c"]


def test_pages_are_fetched_as_the_list_is_read() -> None:
    """Who wants the first batch asks once."""
    get_page, asked = pages(first=Page(("a", "b"), "b"))

    assert next(iter_items(get_page)) == "a"
    assert asked == [None]


def test_a_list_that_starts_again_ends() -> None:
    """OGX answers an unknown cursor with the first page, and Vertex with "more" for ever: nothing is shown twice."""
    first = Page(("a", "b"), "b")
    get_page, asked = pages(first=first, b=first)

    assert list(iter_items(get_page)) == ["a", "b"]
    assert asked == [None, "b"]


def test_a_list_that_runs_in_a_longer_circle_ends() -> None:
    """A cursor seen two pages ago is seen too."""
    get_page, _ = pages(first=Page(("a",), "a"), a=Page(("b",), "b"), b=Page(("a",), "a"))

    assert list(iter_items(get_page)) == ["a", "b"]


@pytest.mark.parametrize("verb", ["list_batches", "list_files"])
def test_both_lists_of_the_client_page(verb: str) -> None:
    """The cursor is the last id, the page size the caller's."""
    service = FakeService({"data": [{"id": "a"}, {"id": "b c"}], "has_more": True}, {"data": [{"id": "d"}]})
    client, _ = client_of(service)

    assert [item.id for item in getattr(client, verb)(page_size=2)] == ["a", "b c", "d"]
    route = verb.removeprefix("list_")
    assert service.calls == [f"GET /v1/{route}?limit=2", f"GET /v1/{route}?limit=2&after=b%20c"] or service.calls == [
        f"GET /v1/{route}?limit=2",
        f"GET /v1/{route}?limit=2&after=b+c",
    ]


def test_files_are_listed_by_purpose() -> None:
    """The purpose is the service's filter."""
    service = FakeService({"data": []})

    assert list(client_of(service)[0].list_files(purpose="batch")) == []
    assert service.calls == ["GET /v1/files?limit=100&purpose=batch"]
