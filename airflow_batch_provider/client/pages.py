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
    after, seen = None, set()
    while True:
        page = get_page(after)
        yield from page.items
        # Some gateways say "more" but start again from the top: a cursor seen before ends the list.
        if page.next_after is None or page.next_after in seen:
            return
        after = page.next_after
        seen.add(after)
