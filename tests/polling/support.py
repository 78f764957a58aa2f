"""A service in memory that counts what it is asked, and an event loop whose time passes at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from airflow_batch_provider.client import AsyncBatchClient, ServiceSettings
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.polling.poller import Poller
from airflow_batch_provider.polling.subscription import News, Subscription

START = 1_800_000_000.0
PAGE = 100


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer whenever nothing else is to be done; an hour takes a moment."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        done = self.create_future()
        done.set_result(func(*args))
        return done

    def _run_once(self) -> None:
        loop: Any = self
        if not loop._ready:
            moments = [handle.when() for handle in loop._scheduled if not handle.cancelled()]
            self._virtual = max(self._virtual, min(moments, default=self._virtual))
        super()._run_once()  # type: ignore[misc]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """Epoch seconds in virtual time."""
    return START + asyncio.get_running_loop().time()


class FakeService:
    """
    Batches, newest first.

    :param count: How many, with ids ``b0`` (the oldest) and so on; all running.
    :param latency: Seconds an answer takes.
    """

    def __init__(self, count: int, latency: float = 0.05) -> None:
        self.status = {f"b{number}": "in_progress" for number in range(count)}
        self.counts: dict[str, int] = {}
        self.latency = latency
        self.asked: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    @property
    def ids(self) -> list[str]:
        return list(self.status)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        route = "list" if path == "/batches" else "get"
        self.asked[route] += 1
        self.log.append((now(), route))
        await asyncio.sleep(self.latency)
        if (answer := self.answer(request)) is not None:
            return answer
        if route == "list":
            return httpx.Response(200, json=self._page(request.url.params.get("after")))
        batch_id = path.removeprefix("/batches/")
        if batch_id not in self.status:
            return httpx.Response(404, json={"error": {"message": "no such batch"}})
        return httpx.Response(200, json=self._batch(batch_id))

    def _page(self, after: str | None) -> dict[str, Any]:
        newest_first = self.ids[::-1]
        start = 0 if after is None else newest_first.index(after) + 1
        items = newest_first[start : start + PAGE]
        return {
            "object": "list",
            "data": [self._batch(batch_id) for batch_id in items],
            "has_more": start + PAGE < len(newest_first),
            "last_id": items[-1] if items else None,
        }

    def _batch(self, batch_id: str) -> dict[str, Any]:
        return {
            "id": batch_id,
            "object": "batch",
            "status": self.status[batch_id],
            "created_at": int(START),
            "request_counts": {"total": 100, "completed": self.counts.get(batch_id, 0), "failed": 0},
        }


def poller_of(service: FakeService, load: Any = None, jitter: float = 0.5) -> Poller:
    """Make a poller of a service."""

    async def settings() -> ServiceSettings:
        return ServiceSettings(base_url="http://service/v1")

    return Poller(
        "batch_default",
        load or settings,
        clock=now,
        jitter=lambda: jitter,
        open_client=lambda settings: AsyncBatchClient(settings, transport=httpx.MockTransport(service.handle)),
    )


def subscribe(poller: Poller, *batch_ids: str, every: float = 5.0) -> Subscription:
    """Wait for batches from now on."""
    return poller.subscribe(batch_ids, WatchPolicy(poll_interval=every, max_poll_interval=every), now())


async def hear(subscription: Subscription, seconds: float) -> list[News]:
    """Everything that is told within a time."""
    heard: list[News] = []
    until = now() + seconds
    while now() < until:
        heard += await subscription.news(until, now)
    return heard


def elapsed(began: float) -> float:
    """Real seconds."""
    return time.monotonic() - began
