"""Small stand-ins that behave: a clock, a memory, a network that can be watched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import KEY_FIELD
from airflow_batch_provider.submission import Memory, Submission

KEY = "key-of-this-call"

Probe = Callable[[str], None]


class WorkerCrash(BaseException):
    """The end of a worker at this very point: nothing catches it."""


class FakeClock:
    """A clock that moves when it is told to; its ``sleep`` tells it to."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(seconds)


class FakeMemory:
    """
    A memory that outlives its worker, as JSON like Airflow's task state store.

    :param probe: Called around every save with ``"before save"`` and ``"after save"``, and before every load.
    """

    def __init__(self, probe: Probe = lambda point: None) -> None:
        self.text: str | None = None
        self.probe = probe

    @property
    def record(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = None if self.text is None else json.loads(self.text)
        return found

    def load(self) -> Mapping[str, Any] | None:
        self.probe("before load")
        return self.record

    def save(self, record: Mapping[str, Any]) -> None:
        self.probe("before save")
        self.text = json.dumps(record)
        self.probe("after save")


class ProbedTransport(httpx.BaseTransport):
    """
    A transport that tells when a call goes out and when it was answered.

    :param probe: Called with ``"before POST /batches"`` when nothing was sent, ``"after POST /batches"`` when the
        service has done its work and the caller does not know yet.
    :param inner: The transport behind it.
    """

    def __init__(self, probe: Probe, inner: httpx.BaseTransport | None = None) -> None:
        self.probe = probe
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path.removeprefix('/v1')}"
        self.probe(f"before {call}")
        response = self._inner.handle_request(request)
        self.probe(f"after {call}")
        return response

    def close(self) -> None:
        self._inner.close()


class Tripwire:
    """
    Crashes the worker at the nth point it comes by.

    :param crash_at: Number of the point, from 0; None never crashes.
    """

    def __init__(self, crash_at: int | None = None) -> None:
        self.points: list[str] = []
        self._crash_at = crash_at

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self._crash_at:
            raise WorkerCrash(point)


@dataclass
class FakeBatches:
    """
    A service that has only batches, as an ``httpx.MockTransport`` handler. Nothing ends in it by itself.

    :param clock: Its clock.
    :param seconds_per_create: How far the clock moves with every batch.
    :param unlisted: Ids that its list does not show (yet).
    :param hides_metadata: It never shows metadata, like Bedrock and Vertex behind a gateway.
    :param refuse_cancel: Status with which it refuses to cancel.
    :param newest_first: Order of its list.
    :param loses_cursor: It ignores ``after`` and begins again from the top.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    seconds_per_create: float = 1.0
    unlisted: set[str] = field(default_factory=set)
    hides_metadata: bool = False
    refuse_cancel: int | None = None
    newest_first: bool = True
    loses_cursor: bool = False
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")[3:]
        if request.method == "POST" and not parts:
            return httpx.Response(200, json=self._show(self.create(KEY)))
        if not parts:
            return self._list(request.url.params.get("after"))
        if parts[0] not in self.batches:
            return httpx.Response(404, json={"error": {"message": "No such batch"}})
        if parts[1:] == ["cancel"]:
            if self.refuse_cancel is not None:
                return httpx.Response(self.refuse_cancel, json={"error": {"message": "cannot be cancelled"}})
            self.batches[parts[0]]["status"] = "cancelling"
        return httpx.Response(200, json=self._show(self.batches[parts[0]]))

    def create(self, key: str = KEY, **changes: Any) -> dict[str, Any]:
        number = len(self.batches)
        # Ids that sort against the order of creation, so that no rule can lean on them.
        batch = {
            "id": f"batch_{9999 - number}", "object": "batch", "status": "validating",
            "created_at": int(self.clock()), "metadata": {KEY_FIELD: key},
        } | changes  # fmt: skip
        self.clock.advance(self.seconds_per_create)
        self.batches[str(batch["id"])] = batch
        return batch

    def _list(self, after: str | None) -> httpx.Response:
        self.lists += 1
        shown = [batch for batch in self.batches.values() if batch["id"] not in self.unlisted]
        if self.newest_first:
            shown.reverse()
        start = next((i + 1 for i, batch in enumerate(shown) if batch["id"] == after), 0)
        start = 0 if self.loses_cursor else start
        page = [self._show(batch) for batch in shown[start : start + 100]]
        return httpx.Response(200, json={"data": page, "has_more": start + len(page) < len(shown)})

    def _show(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in batch.items() if not (self.hides_metadata and name == "metadata")}

    def live(self) -> list[str]:
        """Ids of batches that cost money and nobody cancelled, oldest first."""
        return [batch["id"] for batch in self.batches.values() if batch["status"] in ("validating", "completed")]


def submission(service: FakeBatches, memory: Memory, probe: Probe = lambda point: None, **changes: Any) -> Submission:
    """
    Build one try to create a batch at a fake service.

    :param service: The service.
    :param memory: What earlier tries left.
    :param probe: See :class:`ProbedTransport`.
    :param changes: Parameters of the submission; ``handler`` answers in the service's place.
    """
    handler = changes.pop("handler", service)
    client = BatchClient(
        ServiceSettings(base_url="http://service.test/v1", max_retries=0),
        transport=ProbedTransport(probe, httpx.MockTransport(handler)),
    )
    options: dict[str, Any] = {
        "key": KEY, "is_first_try": True, "earliest": service.clock(), "on_unknown": "fail", "body": {},
    }  # fmt: skip
    return Submission(client=client, memory=memory, clock=service.clock, **(options | changes))
