"""A service and its connection for operator tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.sandbox import SandboxServer
from tests.dags import connection

CONSOLE = "https://console.example/batches/{batch_id}?tab=1"


@pytest.fixture
def client(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchClient]:
    """Give a client, and the same service as connection ``batch_default``."""
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection(sandbox.url, max_retries=0, console_url=CONSOLE))
    with BatchClient(ServiceSettings.from_parts(host=sandbox.url)) as opened:
        yield opened
