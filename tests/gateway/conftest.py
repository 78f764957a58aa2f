"""One gateway for all tests here, a sandbox with a clock of its own and a scripted service to put behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.sandbox import SandboxServer
from tests.gateway.support import Connect, FakeClock, settings
from tests.gateway.upstream import Upstream, running_upstream
from tests.servers import Server, require
from tests.servers.portkey import portkey_gateway
from tests.servers.process import answers

Revive = Callable[[], Server]


@pytest.fixture(scope="session")
def revive() -> Iterator[Revive]:
    """
    Give what brings the pinned gateway back, at its old address, when it has died.

    It dies of a small file whose transfer breaks off behind it (an unhandled rejection in Node); whoever runs it lets
    it be started again, and so do the tests.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(require(portkey_gateway()))]

        def revive() -> Server:
            address = servers[-1].url.removesuffix("/v1")
            # One that refuses connections may take a moment to be gone; before, its port is not free.
            if not answers(address)():
                servers[-1].process.wait_for_end()
                port = urlsplit(address).port
                servers.append(stack.enter_context(require(portkey_gateway(port))))
            return servers[-1]

        yield revive


@pytest.fixture
def gateway(revive: Revive) -> Server:
    """Give the pinned gateway."""
    return revive()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[SandboxServer]:
    """Give a sandbox in which time passes only when somebody sleeps by the clock."""
    with SandboxServer(clock=clock, seed=7) as server:
        yield server


@pytest.fixture(scope="session")
def _scripted() -> Iterator[Upstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture
def upstream(_scripted: Upstream) -> Iterator[Upstream]:
    """Give the scripted service, with nothing scripted yet."""
    _scripted.forget()
    yield _scripted
    _scripted.forget()


@pytest.fixture
def pauses() -> list[float]:
    """Give the seconds that clients wanted to wait between tries, instead of waiting."""
    return []


@pytest.fixture
def connect(gateway: Server, revive: Revive, pauses: list[float]) -> Iterator[Connect]:
    """Give a maker of clients to a service behind the gateway; they are closed at the end."""

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        revive()

    with ExitStack() as stack:

        def connect(upstream_url: str | None, **extra: Any) -> BatchClient:
            client = BatchClient(settings(gateway, upstream_url, **extra), sleep=pause, jitter=lambda: 0.0)
            return stack.enter_context(client)

        yield connect
