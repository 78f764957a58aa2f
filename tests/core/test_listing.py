"""The cost rule of the list, and when the list is left alone."""

from __future__ import annotations

import pytest

from airflow_batch_provider.core.listing import (
    LEAVE_ALONE_SECONDS,
    MAX_FAULTS,
    MAX_PAGES_TO_SEARCH,
    MIN_ON_A_PAGE,
    PASSING_FAULT_SECONDS,
    TOP,
    ListTrust,
    pages_to_search,
    plan_looks,
)
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.schedule import Watched
from tests.core.support import NOW


def watched(number: int, page: str | None = None, unlisted_until: float = 0.0) -> Watched:
    """Build a batch that was last seen on a page."""
    made = Watched(f"b{number}", WatchPolicy(), NOW)
    made.page, made.unlisted_until = page, unlisted_until
    return made


def test_a_page_for_as_many_as_it_saves() -> None:
    """A page and its check are two calls: three batches on it are worth it, two are not."""
    on_one = [watched(n, "c1") for n in range(MIN_ON_A_PAGE)]
    on_two = [watched(n, "c2") for n in range(MIN_ON_A_PAGE - 1)]

    plan = plan_looks([*on_one, *on_two], NOW, has_list=True)

    assert plan.pages == {"c1": on_one}
    assert plan.singles == on_two
    assert plan.search == []


def test_unknown_places_are_searched_for_together() -> None:
    """Batches no page has shown yet are searched for from the top when there are enough of them."""
    unknown = [watched(n) for n in range(MIN_ON_A_PAGE)]

    assert plan_looks(unknown, NOW, has_list=True).search == unknown
    assert plan_looks(unknown[:2], NOW, has_list=True).singles == unknown[:2]


def test_the_top_page_is_read_once() -> None:
    """A search reads the first page, so batches known to be there are found by it."""
    known, unknown = [watched(n, TOP) for n in range(5)], [watched(n) for n in range(3)]

    plan = plan_looks([*known, *unknown], NOW, has_list=True)

    assert plan.pages == {}
    assert set(plan.search) == {*known, *unknown}


def test_what_was_not_found_is_not_searched_for_again_soon() -> None:
    """A list that does not show somebody's batches is not read in vain at every look."""
    unlisted = [watched(n, unlisted_until=NOW + 1) for n in range(10)]

    assert plan_looks(unlisted, NOW, has_list=True).singles == unlisted
    assert plan_looks(unlisted, NOW + 1, has_list=True).search == unlisted


def test_without_a_list_every_batch_is_asked_for() -> None:
    """In the order of their turn."""
    due = [watched(n, "c1") for n in range(10)]

    assert plan_looks(due, NOW, has_list=False).singles == due


@pytest.mark.parametrize(("count", "pages"), [(3, 1), (300, 100), (100_000, MAX_PAGES_TO_SEARCH)])
def test_a_search_costs_a_third_of_single_questions_at_most(count: int, pages: int) -> None:
    """And it is bounded in any case."""
    assert pages_to_search(count) == pages


def test_a_refused_list_is_left_alone_for_an_hour() -> None:
    """Told once, tried again later."""
    trust = ListTrust()

    assert trust.page_failed("404", NOW, may_pass=False) == "404"
    assert trust.page_failed("404", NOW, may_pass=False) is None
    assert not trust.is_usable(NOW + LEAVE_ALONE_SECONDS - 1)
    assert trust.is_usable(NOW + LEAVE_ALONE_SECONDS)


def test_passing_faults_need_a_row() -> None:
    """A blip changes nothing; a row of faults leaves the list alone for some minutes; a page in between forgives."""
    trust = ListTrust()
    for _ in range(MAX_FAULTS - 1):
        assert trust.page_failed("500", NOW, may_pass=True) is None
    trust.page_came(0.1, NOW)
    for _ in range(MAX_FAULTS - 1):
        assert trust.page_failed("500", NOW, may_pass=True) is None

    assert trust.page_failed("500", NOW, may_pass=True) == "500"
    assert not trust.is_usable(NOW)
    assert trust.is_usable(NOW + PASSING_FAULT_SECONDS)


def test_a_slow_list_is_left_alone() -> None:
    """A page of half a minute would hold up everybody."""
    trust = ListTrust()

    assert trust.page_came(9.0, NOW) is None
    assert "31 s" in str(trust.page_came(31.0, NOW))
    assert not trust.is_usable(NOW)


def test_a_list_with_old_news_is_left_alone() -> None:
    """One surprise is chance: the batch ended between page and check. Two among ten checks are not."""
    trust = ListTrust()
    assert trust.checked(NOW, was_right=False) is None
    for _ in range(9):
        assert trust.checked(NOW, was_right=True) is None
    assert trust.checked(NOW, was_right=False) is None

    assert "ended" in str(trust.checked(NOW, was_right=False))
    assert not trust.is_usable(NOW)
