"""What a look costs, and what it does about lists that cannot be trusted."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from airflow_batch_provider.core.health import MAX_QUESTIONS_PER_SECOND
from airflow_batch_provider.polling import looks
from airflow_batch_provider.polling.poller import Poller
from airflow_batch_provider.polling.subscription import Subscription
from tests.polling.support import FakeService, hear, poller_of, run, subscribe


def error(status: int) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "no"}})


def watch_all(service: FakeService) -> tuple[Poller, list[Subscription]]:
    """One waiting task per batch, as in a triggerer."""
    poller = poller_of(service)
    return poller, [subscribe(poller, batch_id) for batch_id in service.ids]


async def ends_are_heard(service: FakeService, subscriptions: list[Subscription], seconds: float) -> bool:
    """End every batch; say whether each subscriber hears it in time."""
    for batch_id in service.ids:
        service.status[batch_id] = "completed"
    heard = await asyncio.gather(*(hear(subscription, seconds) for subscription in subscriptions))
    return all(news and news[-1].status.has_ended for news in heard)  # type: ignore[union-attr]


def test_a_thousand_batches_cost_ten_pages_a_look() -> None:
    """Lists are read where they are cheaper: 10 pages and one check a look instead of 1,000 questions."""
    service = FakeService(1_000)

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(27)  # looks after 0.5, 5.5, ... seconds
        assert service.asked["list"] == pytest.approx(60, abs=11)
        assert service.asked["get"] <= 6
        assert await ends_are_heard(service, subscriptions, 7.5)
        await poller.stop()

    run(scenario())


def test_foreign_batches_are_read_past_once() -> None:
    """5,000 newer batches of others: the first look reads past them, later looks begin where ours are."""
    service = FakeService(6_000)
    ours = service.ids[:1_000]

    async def scenario() -> None:
        poller = poller_of(service)
        for batch_id in ours:
            subscribe(poller, batch_id)
        await asyncio.sleep(4.9)
        assert service.asked["list"] == 60
        await asyncio.sleep(15)
        assert service.asked["list"] < 60 + 4 * 11
        await poller.stop()

    run(scenario())


def test_new_batches_push_the_others_down_and_nobody_is_lost() -> None:
    """While others create batches, pages keep showing ours."""
    service = FakeService(150)

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(3)
        for number in range(70):
            service.status[f"later{number}"] = "in_progress"
        await asyncio.sleep(5)
        before = service.asked["get"]
        assert await ends_are_heard(service, subscriptions, 7.5)
        assert service.asked["get"] - before < 10
        await poller.stop()

    run(scenario())


@pytest.mark.parametrize("status", [404, 405, 400, 401, 403, 500, 503])
def test_without_a_list_the_batches_are_asked_for(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """A list that is missing, forbidden or broken: every batch is asked for by itself; said once."""
    service = FakeService(20)
    service.answer = lambda request: error(status) if request.url.path == "/v1/batches" else None

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(30)
        assert service.asked["list"] <= 3
        assert service.asked["get"] >= 100
        assert await ends_are_heard(service, subscriptions, 7.5)
        await poller.stop()

    run(scenario())
    assert len([r for r in caplog.records if "is not used for a while" in r.message]) == 1


def test_a_list_that_shows_none_of_ours_is_read_once() -> None:
    """Partial lists (another project's key, another region): GETs for what the pages do not show."""
    service = FakeService(40)
    hidden = set(service.ids[:20])
    everything = service._page

    def without_hidden(after: str | None) -> dict[str, object]:
        page = everything(after)
        return page | {"data": [item for item in page["data"] if item["id"] not in hidden]}

    service._page = without_hidden  # type: ignore[method-assign]

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(30)
        assert service.asked["list"] == 6  # one a look, for those that it shows
        assert service.asked["get"] == pytest.approx(6 * 21, abs=21)
        assert await ends_are_heard(service, subscriptions, 7.5)
        await poller.stop()

    run(scenario())


def test_a_list_with_old_news_is_found_out() -> None:
    """A list that never moves a batch (aimock's) does not keep a wait from its end."""
    service = FakeService(50)
    fresh = service._batch

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(3)
        everything = service._page

        def stale(after: str | None) -> dict[str, object]:
            page = everything(after)
            return page | {"data": [fresh(item["id"]) | {"status": "in_progress"} for item in page["data"]]}

        service._page = stale  # type: ignore[method-assign]
        assert await ends_are_heard(service, subscriptions, 20)
        await poller.stop()

    run(scenario())


def test_a_slow_list_is_left_alone() -> None:
    """A list that takes half a minute a page is read once."""
    service = FakeService(300)
    quick = service.handle

    async def slow_list(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/batches":
            await asyncio.sleep(30)
        return await quick(request)

    service.handle = slow_list  # type: ignore[method-assign]

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(120)
        assert service.asked["list"] <= 3
        assert await ends_are_heard(service, subscriptions, 20)
        await poller.stop()

    run(scenario())


def test_single_questions_are_bounded_and_shared_fairly(caplog: pytest.LogCaptureFixture) -> None:
    """Without a list 600 batches are asked for at a bounded rate, each as often as the others; the interval is told."""
    service = FakeService(600)
    asked: dict[str, int] = dict.fromkeys(service.ids, 0)

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/batches":
            return error(404)
        asked[request.url.path.removeprefix("/v1/batches/")] += 1
        return None

    service.answer = answer

    async def scenario() -> None:
        poller, _ = watch_all(service)
        await asyncio.sleep(90)
        await poller.stop()

    run(scenario())
    moments = [moment for moment, route in service.log if route == "get"]
    busiest = max(sum(start <= moment < start + 1 for moment in moments) for start in moments[::50])
    assert busiest <= MAX_QUESTIONS_PER_SECOND * 1.2
    assert max(asked.values()) - min(asked.values()) <= 1
    assert min(asked.values()) >= 4
    (told,) = [record.message for record in caplog.records if "asked for one by one, 40 a second" in record.message]
    assert "instead of every 5 s" in told


def test_a_page_that_fails_once_is_not_forgotten() -> None:
    """A blip of the list costs single questions for one look, and no new search."""
    service = FakeService(300)

    async def scenario() -> None:
        poller, _ = watch_all(service)
        await asyncio.sleep(3)
        service.answer = lambda request: error(500) if request.url.params.get("after") == "b200" else None
        before = service.asked["list"]
        await asyncio.sleep(5)
        assert service.asked["list"] - before == 3
        service.answer = lambda request: None
        before = service.asked["list"]
        await asyncio.sleep(5)
        assert service.asked["list"] - before == 3
        await poller.stop()

    run(scenario())


def test_a_cursor_that_is_gone_is_forgotten() -> None:
    """When the service no longer knows the batch a page begins after, the batches of that page are found anew."""
    service = FakeService(300)

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(3)
        service.answer = lambda request: error(404) if request.url.params.get("after") == "b200" else None
        await asyncio.sleep(5)
        assert await ends_are_heard(service, subscriptions, 7.5)
        await poller.stop()

    run(scenario())


def test_the_longest_overdue_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose page shows too few of ours has its turn among those that no page shows."""
    monkeypatch.setattr(looks, "QUESTIONS_SECONDS", 1.0)  # 40 questions a look, of 400 batches
    service = FakeService(400)
    only = {"object": "list", "data": [service._batch("b7"), service._batch("b8")], "has_more": False}
    service.answer = lambda request: httpx.Response(200, json=only) if request.url.path == "/v1/batches" else None

    async def scenario() -> None:
        poller, subscriptions = watch_all(service)
        await asyncio.sleep(30)
        service.status["b7"] = "completed"
        news = await hear(subscriptions[7], 15)
        assert news[-1].status.has_ended  # type: ignore[union-attr]
        await poller.stop()

    run(scenario())
