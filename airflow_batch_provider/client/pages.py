"""Lists as iterators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from airflow_batch_provider.client.wire import Page

T = TypeVar("T")


def iter_items(get_page: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """
    All items of a list route.

    :param get_page: Gets the page behind a cursor, or the first one.
    """
    after: str | None = None
    seen: set[str | None] = set()
    while True:
        page = get_page(after)
        # Some services say "more" but start again from the top: a page that leads to where we were is not new.
        if page.next_after in seen:
            return
        yield from page.items
        if page.next_after is None:
            return
        after = page.next_after
        seen.add(after)
