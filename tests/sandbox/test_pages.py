from __future__ import annotations

import pytest

from airflow_batch_provider.sandbox.errors import ApiError
from airflow_batch_provider.sandbox.pages import page, parse_limit


def test_a_page_names_its_ends() -> None:
    """first_id and last_id are those of the page, and null when it is empty."""
    found = page([{"id": "b"}, {"id": "a"}], has_more=True)

    assert (found["object"], found["first_id"], found["last_id"], found["has_more"]) == ("list", "b", "a", True)
    assert page([], has_more=False) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_the_limit_has_a_default() -> None:
    """Without a limit the page has the default size."""
    assert parse_limit({}, default=20, highest=100) == 20
    assert parse_limit({"limit": "100"}, default=20, highest=100) == 100


@pytest.mark.parametrize("text", ["0", "101", "-1", "ten", "", "1.5", "²"])
def test_impossible_limits_are_refused(text: str) -> None:
    """A limit is a number from 1 to the highest."""
    with pytest.raises(ApiError) as caught:
        parse_limit({"limit": text}, default=20, highest=100)

    assert (caught.value.status, caught.value.param) == (400, "limit")
