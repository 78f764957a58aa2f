"""Trouble of a service ends for everybody at once, however long a crowd waits for its turn."""

from __future__ import annotations

import asyncio

import httpx

from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.watching import Done, GaveUp, TimedOut, Watch
from airflow_batch_provider.exceptions import ApiError
from airflow_batch_provider.polling.mailboxes import Mailboxes
from airflow_batch_provider.polling.poller import Poller
from airflow_batch_provider.polling.subscription import Miss, Recovered, Subscription
from airflow_batch_provider.waiting import note_miss
from tests.fakes import FakeClock
from tests.polling.support import FakeService, hear, now, poller_of, run

DAY = 86_400.0


def error(status: int) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "no"}})


async def wait_as_a_trigger(poller: Poller, batch_id: str, policy: WatchPolicy) -> Done | TimedOut | GaveUp:
    """Wait for a batch the way a trigger does."""
    watch = Watch([batch_id], started_at=now(), deadline_at=now() + DAY, policy=policy)
    subscription = poller.subscribe([batch_id], policy, now())
    until = now() + DAY
    try:
        while True:
            for item in await subscription.news(until, now):
                match item:
                    case Miss():
                        note_miss(watch, item.batch_id, item.error, now())
                    case Recovered():
                        watch.recover(item.batch_id)
                    case _:
                        watch.observe(item, now())
            if (end := watch.verdict(now())) is not None:
                return end
            until = watch.verdict_at()
    finally:
        poller.unsubscribe(subscription)


def test_a_refused_key_says_nothing_about_the_list() -> None:
    """While a key is rotated the list refuses too; afterwards it is used as before, and known pages are not searched."""
    service = FakeService(500)

    async def scenario() -> None:
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=5, max_poll_interval=5)
        waits = [asyncio.create_task(wait_as_a_trigger(poller, batch_id, policy)) for batch_id in service.ids]
        await asyncio.sleep(20)
        service.answer = lambda request: error(401)
        await asyncio.sleep(100)
        service.answer = lambda request: None
        await asyncio.sleep(60)  # the pause between probes
        before = service.asked.copy()
        await asyncio.sleep(25)
        asked = service.asked - before
        assert asked["list"] >= 4 * 5
        assert asked["get"] <= asked["list"]
        for batch_id in service.ids:
            service.status[batch_id] = "completed"
        assert set(await asyncio.gather(*waits)) == {Done()}
        await poller.stop()

    run(scenario())


def test_a_list_that_refuses_is_told_from_a_key_that_is_refused() -> None:
    """A key that may see batches and not their list: the list is asked once, and left alone for an hour."""
    service = FakeService(50)
    service.answer = lambda request: error(403) if request.url.path == "/v1/batches" else None

    async def scenario() -> None:
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=5, max_poll_interval=5)
        subscriptions = [poller.subscribe([batch_id], policy, now()) for batch_id in service.ids]
        await asyncio.sleep(1000)
        assert service.asked["list"] == 1
        assert all([await hear(subscription, 0.1) for subscription in subscriptions])
        await poller.stop()

    run(scenario())


def test_nobody_gives_up_while_a_crowd_is_asked_for_again() -> None:
    """Without a list 800 batches take 20 s a round. Patience is 15 s, and begins anew when the service answers anyone."""
    service = FakeService(800)

    def refuse_list(request: httpx.Request) -> httpx.Response | None:
        return error(404) if request.url.path == "/v1/batches" else None

    async def scenario() -> None:
        service.answer = refuse_list
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=2, max_poll_interval=2, refusal_patience=15)
        waits = [asyncio.create_task(wait_as_a_trigger(poller, batch_id, policy)) for batch_id in service.ids]
        await asyncio.sleep(60)
        service.answer = lambda request: error(401)
        await asyncio.sleep(8)
        service.answer = refuse_list
        await asyncio.sleep(60)
        for batch_id in service.ids:
            service.status[batch_id] = "completed"
        assert set(await asyncio.gather(*waits)) == {Done()}
        await poller.stop()

    run(scenario())


def test_a_batch_of_its_own_trouble_stays_in_trouble() -> None:
    """That a key is good again says nothing about a batch that the service does not know."""
    service = FakeService(3)

    async def scenario() -> None:
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=2, max_poll_interval=2, refusal_patience=100)
        unknown = asyncio.create_task(wait_as_a_trigger(poller, "unknown", policy))
        known = asyncio.create_task(wait_as_a_trigger(poller, "b0", policy))
        for _ in range(4):
            await asyncio.sleep(10)
            service.answer = lambda request: error(401)
            await asyncio.sleep(10)
            service.answer = lambda request: None
        await asyncio.sleep(40)
        assert isinstance(unknown.result(), GaveUp)
        service.status["b0"] = "completed"
        assert await known == Done()
        await poller.stop()

    run(scenario())


def test_news_keep_their_order() -> None:
    """What had to wait for its time is told before what came later."""

    async def scenario() -> None:
        clock = FakeClock()
        mailboxes, subscription = Mailboxes(clock), Subscription(["b0"], not_before=clock() + 12)
        mailboxes.add("b0", subscription)
        miss, end_of_it = Miss("b0", ApiError("gone")), Recovered("b0")
        mailboxes.tell("b0", miss)
        clock.advance(13)
        mailboxes.tell("b0", end_of_it)
        await mailboxes.hand_out()

        assert await subscription.news(0) == [miss, end_of_it]
        mailboxes.tell("b0", miss)
        assert await subscription.news(0) == [miss]

    run(scenario())


def test_a_batch_that_alone_is_refused_gives_up_and_disturbs_nobody() -> None:
    """A key may not see one batch (another project's): its task learns of it in time, and the others are looked at."""
    service = FakeService(20)

    def refuse_one(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/batches":
            return error(404)
        return error(403) if request.url.path.endswith("/b7") else None

    service.answer = refuse_one

    async def scenario() -> None:
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=5, max_poll_interval=5, refusal_patience=300)
        began = now()
        forbidden = asyncio.create_task(wait_as_a_trigger(poller, "b7", policy))
        others = [poller.subscribe([batch_id], policy, now()) for batch_id in service.ids if batch_id != "b7"]
        assert isinstance(await forbidden, GaveUp)
        assert now() - began < 400
        news = [await hear(subscription, 0.1) for subscription in others]
        assert all(sum(isinstance(item, Miss) for item in items) <= 1 for items in news)
        await poller.stop()

    run(scenario())
