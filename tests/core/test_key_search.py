"""Looking for a key in a service's list: "not found" may only mean "not there" when that is sure."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import KEY_FIELD, KeySearch, Search
from tests.core.support import NOW, batch

HOUR = 3600.0


def mine(batch_id: str, created_at: float | None) -> Batch:
    return batch(batch_id, created_at=created_at, metadata={KEY_FIELD: "key"})


def other(batch_id: str, created_at: float | None) -> Batch:
    return batch(batch_id, created_at=created_at, metadata={})


def silent(batch_id: str, created_at: float | None) -> Batch:
    return batch(batch_id, created_at=created_at, metadata=None)


def search(*pages: Sequence[Batch], seen_all: bool = True) -> Search:
    """Feed pages until the search wants no more; the list has more pages when it stopped early."""
    found = KeySearch("key", NOW)
    for page in pages:
        if not found.feed(page):
            return found.end(has_seen_all=False)
    return found.end(has_seen_all=seen_all)


def test_the_batch_with_the_key_is_found() -> None:
    """Others' batches and other keys are passed over."""
    stranger = batch("b", created_at=NOW, metadata={KEY_FIELD: "another"})
    found = search([other("a", NOW), stranger, mine("c", NOW)])

    assert [b.id for b in found.found] == ["c"]
    assert found.is_conclusive


def test_twins_are_told_oldest_first() -> None:
    """The oldest wins; one without a time comes last, equal times are ordered by id."""
    found = search([mine("new", NOW + 5), mine("b", NOW), mine("a", NOW), mine("timeless", None)])

    assert [b.id for b in found.found] == ["a", "b", "new", "timeless"]


def test_a_list_that_was_read_to_its_end_is_conclusive() -> None:
    """Nothing with the key, all seen: it is not there."""
    assert search([other("a", NOW)]) == Search((), is_conclusive=True)
    assert search([]) == Search((), is_conclusive=True)


def test_a_list_that_was_not_read_to_its_end_is_not() -> None:
    """Behind the last page read there may be the batch."""
    assert not search([other("a", NOW)], seen_all=False).is_conclusive


def test_newest_first_lists_are_read_only_as_far_as_needed() -> None:
    """The first batch older than the task ends the search, and "not there" is sure."""
    found = KeySearch("key", NOW)

    assert found.feed([other("c", NOW + 9), other("b", NOW)])
    assert not found.feed([other("a", NOW - 2 * HOUR)])
    assert found.end(has_seen_all=False) == Search((), is_conclusive=True)


def test_clocks_may_differ_by_an_hour() -> None:
    """A service whose clock is behind still shows our batch inside the window."""
    found = search([other("b", NOW), mine("a", NOW - HOUR + 1)])

    assert [b.id for b in found.found] == ["a"]


def test_batches_of_an_earlier_run_are_not_ours() -> None:
    """A key can only be ours since the task began."""
    assert search([other("b", NOW), mine("a", NOW - 2 * HOUR)]).found == ()


def test_lists_in_ascending_order_are_read_to_the_end() -> None:
    """An old batch on top proves nothing there: the newest come last."""
    pages = [[other("a", NOW - 3 * HOUR), other("b", NOW - 2 * HOUR)], [mine("c", NOW)]]

    assert [b.id for b in search(*pages).found] == ["c"]
    assert not search(pages[0], seen_all=False).is_conclusive


def test_a_first_page_of_one_old_batch_proves_no_order() -> None:
    """A short first page of an ascending list looks like a newest-first one, so reading goes on."""
    assert [b.id for b in search([other("a", NOW - 2 * HOUR)], [mine("b", NOW)]).found] == ["b"]


def test_batches_of_one_second_prove_no_order() -> None:
    """Equal times neither go up nor down."""
    burst = [other(f"a{number}", NOW - 2 * HOUR) for number in range(3)]

    assert [b.id for b in search(burst, [mine("b", NOW)]).found] == ["b"]


def test_a_jumbled_list_is_read_to_the_end() -> None:
    """One step up is enough: the order cannot be trusted."""
    pages = [[other("a", NOW - 2 * HOUR), other("b", NOW)], [other("c", NOW - 9 * HOUR)], [mine("d", NOW)]]

    assert [b.id for b in search(*pages).found] == ["d"]


def test_a_service_that_tells_no_metadata_cannot_deny() -> None:
    """Bedrock and Vertex behind a gateway show batches without metadata: any of them may be ours."""
    assert not search([silent("a", NOW), silent("b", None)]).is_conclusive


def test_one_told_metadata_shows_that_the_service_tells() -> None:
    """Services that leave the field out of batches without metadata are believed when others have it."""
    assert search([silent("a", NOW), other("b", NOW)]).is_conclusive


def test_old_batches_without_metadata_do_not_matter() -> None:
    """None of the batches that could be ours is silent."""
    assert search([silent("b", NOW - 2 * HOUR), silent("a", NOW - 3 * HOUR)]).is_conclusive


def test_batches_without_a_time_do_not_end_the_search() -> None:
    """Without times there is no order to rely on."""
    assert [b.id for b in search([other("a", None)], [mine("b", None)]).found] == ["b"]


def test_a_list_that_repeats_its_first_page_is_not_conclusive() -> None:
    """The caller stops at a repeated cursor without having seen all; nothing is counted twice."""
    page = [other("b", NOW + 1), mine("a", NOW)]
    found = search(page, page, seen_all=False)

    assert [b.id for b in found.found] == ["a"]
    assert not found.is_conclusive
