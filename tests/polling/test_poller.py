"""The shared poller: who hears what, through outages, refusals and changes of the connection."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import ServiceSettings
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.exceptions import ConfigurationError
from airflow_batch_provider.polling import awaited_here, join, leave, registry
from airflow_batch_provider.polling.subscription import Miss, Recovered
from tests.polling.support import FakeService, hear, now, poller_of, run, subscribe


def error(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "no"}}, headers=headers)


def test_only_news_is_told() -> None:
    """The first answer, and what changes; a waiting task sleeps through everything else."""
    service = FakeService(1)

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, "b0")
        assert [item.status.value for item in await hear(subscription, 100)] == ["in_progress"]  # type: ignore[union-attr]
        for done in range(24):
            service.counts["b0"] = done
            await asyncio.sleep(5)
        assert 2 <= len(await subscription.news(now(), now)) <= 3
        service.status["b0"] = "completed"
        (end,) = await hear(subscription, 10)
        assert isinstance(end, Batch)
        assert end.status.has_ended
        await poller.stop()

    run(scenario())


def test_ended_batches_are_not_looked_at_again() -> None:
    """Whoever stays subscribed for other batches does not cost calls for the one that has ended."""
    service = FakeService(2)
    service.status["b0"] = "completed"

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, "b0", "b1")
        await asyncio.sleep(60)
        assert service.asked["get"] == pytest.approx(13, abs=1)
        assert len(await subscription.news(now(), now)) == 2
        await poller.stop()

    run(scenario())


def test_two_tasks_wait_for_one_batch() -> None:
    """It is looked at once, and both hear of it; who comes later hears at once what is known."""
    service = FakeService(1)

    async def scenario() -> None:
        poller = poller_of(service)
        first = subscribe(poller, "b0")
        await asyncio.sleep(1)
        second = subscribe(poller, "b0")
        assert await second.news(now(), now) != []
        service.status["b0"] = "failed"
        heard = await asyncio.gather(hear(first, 6), hear(second, 6))
        assert all(news[-1].status.has_ended for news in heard)  # type: ignore[union-attr]
        assert service.asked["get"] == 2
        await poller.stop()

    run(scenario())


def test_nothing_is_told_before_its_time() -> None:
    """A task that has only just deferred must not be resumed yet, though others make the poller look at its batch."""
    service = FakeService(1)
    service.status["b0"] = "completed"

    async def scenario() -> None:
        poller = poller_of(service)
        policy = WatchPolicy(poll_interval=5)
        early = subscribe(poller, "b0")
        await asyncio.sleep(0.1)
        late = poller.subscribe(["b0"], policy, now(), now() + 12)
        began = now()
        assert (await early.news(now() + 100, now))[0].status.has_ended  # type: ignore[union-attr]
        assert now() - began < 6
        assert (await late.news(now() + 100, now))[0].status.has_ended  # type: ignore[union-attr]
        assert now() - began == pytest.approx(12)
        await poller.stop()

    run(scenario())


def test_a_blip_is_no_news() -> None:
    """One failed call is tried again before anybody is bothered."""
    service = FakeService(5)

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, *service.ids)
        await hear(subscription, 2)
        service.answer = _once(httpx.ConnectError("refused"))
        assert await hear(subscription, 20) == []
        await poller.stop()

    run(scenario())


def test_an_outage_is_told_once_and_survived() -> None:
    """The service is gone for minutes: it is probed now and then, each task hears of it once, and then goes on."""
    service = FakeService(50)

    async def scenario() -> None:
        poller = poller_of(service)
        subscriptions = [subscribe(poller, batch_id) for batch_id in service.ids]
        await asyncio.sleep(2)
        for subscription in subscriptions:
            await subscription.news(now(), now)
        service.answer = _always(httpx.ConnectError("refused"))
        before = sum(service.asked.values())
        await asyncio.sleep(300)
        assert sum(service.asked.values()) - before < 12
        service.answer = lambda request: None
        service.status["b7"] = "completed"
        await asyncio.sleep(70)
        for subscription in subscriptions:
            miss, end_of_it, *batches = await subscription.news(now(), now)
            assert isinstance(miss, Miss)
            assert miss.error.retryable
            assert isinstance(end_of_it, Recovered | Batch)  # one batch is the probe
            assert len(batches) == ("b7" in subscription.batch_ids)
        await poller.stop()

    run(scenario())


def test_a_service_with_faults_is_probed_with_one_call() -> None:
    """500 for everything is an outage too, also for services without a list."""
    service = FakeService(50)

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, *service.ids)
        await hear(subscription, 2)
        service.answer = lambda request: error(500)
        before = sum(service.asked.values())
        heard = await hear(subscription, 300)
        assert sum(service.asked.values()) - before < 50
        assert {item.batch_id for item in heard if isinstance(item, Miss)} == set(service.ids)
        assert len(heard) == 50
        await poller.stop()

    run(scenario())


def test_batches_with_faults_are_not_every_probe() -> None:
    """Five batches the service chokes on look like an outage; the next probe is another batch, and the rest go on."""
    service = FakeService(8)
    broken = {f"b{number}" for number in range(5)}
    service.answer = lambda request: error(500) if request.url.path.split("/")[-1] in {"batches", *broken} else None

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, *service.ids)
        await hear(subscription, 120)
        service.status["b7"] = "completed"
        assert "b7" in [item.id for item in await hear(subscription, 120) if isinstance(item, Batch)]
        await poller.stop()

    run(scenario())


def test_one_batch_with_a_fault_does_not_stop_the_others() -> None:
    """A batch the service chokes on (or does not know) is missed alone; the others are looked at."""
    service = FakeService(3)
    service.answer = lambda request: error(500) if request.url.path.endswith("b1") else None

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, "b0", "b1", "unknown")
        heard = await hear(subscription, 60)
        assert {item.batch_id for item in heard if isinstance(item, Miss)} == {"b1", "unknown"}
        service.status["b0"] = "completed"
        assert [item.id for item in await hear(subscription, 6)] == ["b0"]  # type: ignore[union-attr]
        await poller.stop()

    run(scenario())


def test_retry_after_holds_for_everybody() -> None:
    """A 429 with Retry-After silences the whole connection for so long, and everybody is told why nothing moves."""
    service = FakeService(200)

    async def scenario() -> None:
        poller = poller_of(service)
        subscriptions = [subscribe(poller, batch_id) for batch_id in service.ids]
        await asyncio.sleep(2)
        service.answer = _once_answer(error(429, **{"Retry-After": "120"}))
        await asyncio.sleep(5)
        refused_at, asked = now(), sum(service.asked.values())
        await asyncio.sleep(110)
        subscriptions.append(subscribe(poller, "b0"))
        await asyncio.sleep(3)
        assert sum(service.asked.values()) == asked, refused_at
        await asyncio.sleep(30)
        assert sum(service.asked.values()) > asked
        news = [await subscription.news(now(), now) for subscription in subscriptions[:200]]
        assert all(any(isinstance(item, Miss) for item in items) for items in news)
        assert all(isinstance(items[-1], Recovered | Batch) for items in news)
        await poller.stop()

    run(scenario())


def test_too_many_questions_are_fewer_afterwards() -> None:
    """A service that bears less than we ask: the rate is halved at each 429, and creeps up again."""
    service = FakeService(400)
    minute: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/batches":
            return error(404)
        minute.append(now())
        return error(429) if sum(moment > now() - 1 for moment in minute) > 12 else None

    service.answer = answer

    async def scenario() -> None:
        poller = poller_of(service)
        subscriptions = [subscribe(poller, batch_id) for batch_id in service.ids]
        await asyncio.sleep(300)
        for subscription in subscriptions:
            assert any(isinstance(item, Batch) for item in await subscription.news(now(), now))
        asked = service.asked["get"]
        await asyncio.sleep(120)
        assert 120 * 4 < service.asked["get"] - asked < 120 * 13
        await poller.stop()

    run(scenario())


def test_a_refusal_that_follows_an_outage_is_told_too() -> None:
    """Their patience differs, so the kind of trouble is news."""
    service = FakeService(1)

    async def scenario() -> None:
        poller = poller_of(service)
        subscription = subscribe(poller, "b0")
        await hear(subscription, 2)
        service.answer = lambda request: error(503)
        (outage,) = await hear(subscription, 300)
        service.answer = lambda request: error(401)
        (refusal,) = await hear(subscription, 300)
        assert isinstance(outage, Miss)
        assert isinstance(refusal, Miss)
        assert (outage.error.retryable, refusal.error.retryable) == (True, False)
        await poller.stop()

    run(scenario())


def test_a_rotated_key_is_picked_up() -> None:
    """After a refusal the connection is read anew before the next try; unchanged settings keep their client."""
    service = FakeService(1)
    service.answer = lambda request: None if request.headers["authorization"] == "Bearer new" else error(401)
    keys = ["old", "old", "new"]
    reads = 0

    async def load() -> ServiceSettings:
        nonlocal reads
        reads += 1
        key = keys.pop(0) if len(keys) > 1 else keys[0]
        return ServiceSettings(base_url="http://service/v1", headers={"Authorization": f"Bearer {key}"})

    async def scenario() -> None:
        poller = poller_of(service, load)
        subscription = subscribe(poller, "b0")
        heard = await hear(subscription, 60)
        assert isinstance(heard[-1], Batch)
        assert reads <= 5
        await poller.stop()

    run(scenario())


def test_an_edited_connection_is_picked_up_without_trouble() -> None:
    """A new host is used within about a minute although the old one still answers."""
    old, new = FakeService(1), FakeService(1)
    settings = ServiceSettings(base_url="http://old/v1")

    async def load() -> ServiceSettings:
        return settings

    async def scenario() -> None:
        nonlocal settings
        poller = poller_of(old, load)
        route = old.handle

        async def by_host(request: httpx.Request) -> httpx.Response:
            return await (new.handle if request.url.host == "new" else route)(request)

        old.handle = by_host  # type: ignore[method-assign]
        subscribe(poller, "b0")
        await asyncio.sleep(10)
        settings = ServiceSettings(base_url="http://new/v1")
        await asyncio.sleep(70)
        asked = old.asked["get"]
        await asyncio.sleep(60)
        assert new.asked["get"] >= 10
        assert old.asked["get"] == asked
        await poller.stop()

    run(scenario())


def test_a_deleted_connection_is_told() -> None:
    """Nothing is asked any more with a key that somebody took away; everybody hears why."""
    service = FakeService(1)
    is_there = True

    async def load() -> ServiceSettings:
        if not is_there:
            raise ConfigurationError("The conn_id `batch_default` isn't defined.")
        return ServiceSettings(base_url="http://service/v1")

    async def scenario() -> None:
        nonlocal is_there
        poller = poller_of(service, load)
        subscription = subscribe(poller, "b0")
        await hear(subscription, 10)
        is_there = False
        (miss,) = await hear(subscription, 120)
        assert isinstance(miss, Miss)
        assert "isn't defined" in str(miss.error)
        assert not miss.error.retryable
        asked = service.asked["get"]
        await asyncio.sleep(120)
        assert service.asked["get"] == asked
        await poller.stop()

    run(scenario())


def test_unreadable_connections_tell_no_secret() -> None:
    """Secrets backends raise anything, and their texts may quote what they hold."""
    service = FakeService(1)

    async def load() -> ServiceSettings:
        raise RuntimeError("postgresql://user:hunter22@db")

    async def scenario() -> None:
        poller = poller_of(service, load)
        (miss,) = await hear(subscribe(poller, "b0"), 60)
        assert isinstance(miss, Miss)
        assert "hunter22" not in str(miss.error)
        assert "RuntimeError" in str(miss.error)
        await poller.stop()

    run(scenario())


def test_a_defect_of_ours_is_an_outage_for_the_tasks(caplog: pytest.LogCaptureFixture) -> None:
    """An exception nobody thought of neither hangs nor fails ten thousand tasks; it is logged with its place."""
    service = FakeService(1)
    service.answer = _once(RuntimeError("never thought of"))

    async def scenario() -> None:
        poller = poller_of(service)
        miss, batch = await hear(subscribe(poller, "b0"), 90)
        assert isinstance(miss, Miss)
        assert miss.error.retryable
        assert isinstance(batch, Batch)
        await poller.stop()

    run(scenario())
    assert any(record.exc_info for record in caplog.records)


def test_the_last_to_leave_ends_it() -> None:
    """Waiters of one connection share a poller; after the last one no task, no client and no table entry is left."""
    service = FakeService(3)

    async def scenario() -> None:
        policy = WatchPolicy(poll_interval=5)
        first = join("one", _settings, ["b0"], policy, now())
        second = join("one", _settings, ["b1"], policy, now())
        assert awaited_here() == 2
        assert len(registry._pollers[asyncio.get_running_loop()]) == 1
        other = join("other", _settings, ["b1"], policy, now())
        assert len(registry._pollers[asyncio.get_running_loop()]) == 2
        await leave("other", other)
        await leave("one", second)
        assert awaited_here() == 1
        await leave("one", first)
        assert registry._pollers[asyncio.get_running_loop()] == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())
    assert not service.asked


def test_a_cancelled_waiter_leaves_like_the_others() -> None:
    """Triggers are cancelled at a triggerer's end; nothing is left of them."""

    async def wait() -> None:
        subscription = join("one", _settings, ["b0"], WatchPolicy(), now())
        try:
            await subscription.news(now() + 1_000, now)
        finally:
            await leave("one", subscription)

    async def scenario() -> None:
        waiting = [asyncio.create_task(wait()) for _ in range(10)]
        await asyncio.sleep(1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())


def test_its_lines_are_in_nobodys_log() -> None:
    """The poller runs outside the context of the trigger that happened to come first."""
    task_of_log: contextvars.ContextVar[str] = contextvars.ContextVar("task_of_log", default="nobody")
    seen: list[str] = []

    async def load() -> ServiceSettings:
        seen.append(task_of_log.get())
        return ServiceSettings(base_url="http://service/v1")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(task_of_log.get())

    service = FakeService(5)
    service.answer = lambda request: error(404) if request.url.path == "/v1/batches" else None

    async def scenario() -> None:
        task_of_log.set("the first task")
        poller = poller_of(service, load)
        subscribe(poller, *service.ids)
        await asyncio.sleep(10)
        await poller.stop()

    handler = Handler()
    logging.getLogger("airflow_batch_provider").addHandler(handler)
    try:
        run(scenario())
    finally:
        logging.getLogger("airflow_batch_provider").removeHandler(handler)
    assert len(seen) >= 2
    assert set(seen) == {"nobody"}


def test_httpx_is_silenced_for_the_poller_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line per request in the triggerer's log; whoever else uses httpx keeps theirs."""
    caplog.set_level(logging.INFO, logger="httpx")
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", False)  # Airflow's own setup may have done that
    service = FakeService(1)

    async def scenario() -> None:
        poller = poller_of(service)
        await hear(subscribe(poller, "b0"), 20)
        assert service.asked["get"] == 4
        async with httpx.AsyncClient(transport=httpx.MockTransport(service.handle)) as client:
            await client.get("http://service/v1/batches/others")
        await poller.stop()

    run(scenario())
    assert [r.message for r in caplog.records if r.name == "httpx" and "b0" in r.message] == []
    assert [r.message for r in caplog.records if r.name == "httpx" and "others" in r.message] != []


async def _settings() -> ServiceSettings:
    return ServiceSettings(base_url="http://127.0.0.1:9/v1")


def _always(failure: Exception) -> Any:
    def answer(request: httpx.Request) -> httpx.Response | None:
        raise failure

    return answer


def _once(failure: Exception) -> Any:
    left = [failure]

    def answer(request: httpx.Request) -> httpx.Response | None:
        if left:
            raise left.pop()
        return None

    return answer


def _once_answer(response: httpx.Response) -> Any:
    left = [response]
    return lambda request: left.pop() if left else None
