"""Small stand-ins that behave: a clock, a memory, a network that can be watched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

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
