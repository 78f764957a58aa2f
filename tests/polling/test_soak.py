"""What comes and goes leaves nothing."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from statistics import median

import pytest

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.polling import registry
from tests.polling.support import FakeService, now, poller_of, subscribe

WAVES, PER_WAVE = 100, 1_000
MAX_MORE_OBJECTS = 3_000


def test_a_hundred_thousand_subscriptions_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Tasks come, hear of their batch and go, a thousand at a time, while one stays: tables, tasks and objects stay as many
    as after the first waves.
    """
    monkeypatch.setattr(registry, "CROWD", float("inf"))  # what is frozen cannot be counted
    service = FakeService(1, latency=0.0)
    poller = poller_of(service)
    counted: list[int] = []

    async def wait_once(number: int) -> str:
        batch_id = f"wave{number}"
        subscription = subscribe(poller, batch_id, every=0.01)
        try:
            (news,) = await subscription.news(now() + 60, now)
            assert isinstance(news, Batch)
            return news.id
        finally:
            poller.unsubscribe(subscription)

    async def scenario() -> None:
        staying = subscribe(poller, "b0", every=3_600)
        for wave in range(WAVES):
            numbers = range(wave * PER_WAVE, (wave + 1) * PER_WAVE)
            service.status = {"b0": "in_progress"} | {f"wave{number}": "in_progress" for number in numbers}
            heard = await asyncio.gather(*(wait_once(number) for number in numbers))
            assert len(set(heard)) == PER_WAVE
            service.log.clear()
            gc.collect()
            counted.append(len(gc.get_objects()))
        assert (len(poller), len(poller._schedule)) == (1, 1)
        assert len(asyncio.all_tasks()) == 2
        poller.unsubscribe(staying)
        await poller.stop()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())

    assert median(counted[-10:]) - median(counted[5:15]) < MAX_MORE_OBJECTS, Counter(counted)
