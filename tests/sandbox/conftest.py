"""A sandbox with a clock of its own, and a client for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from airflow_batch_provider.sandbox import SandboxServer
from tests.sandbox.support import FakeClock, ShortClient


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[SandboxServer]:
    with SandboxServer(clock=clock, seed=7) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer, clock: FakeClock) -> Iterator[ShortClient]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield ShortClient(http, clock)
