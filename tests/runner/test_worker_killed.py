"""A real worker process, killed with SIGKILL exactly while the paid call is being answered."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_batch_provider.sandbox import Fault, SandboxServer
from airflow_batch_provider.sandbox.interference import HANDLERS
from tests.fakes import FakeClock
from tests.runner.support import OWNER, PAIRS, Desk

ROOT = Path(__file__).resolve().parents[2]
# One try of a run, up to its first wait, as a task process would do it.
WORKER = f"""
import sys
from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.runner import BatchRun

url, source, output = sys.argv[1:]
options = RunOptions(source, output, limits=BatchLimits(max_requests={PAIRS.max_requests}))
owner = TaskIdentity({OWNER.dag_id!r}, {OWNER.task_id!r}, {OWNER.run_id!r})
with BatchClient(ServiceSettings(base_url=url)) as client:
    BatchRun(client, options, owner=owner, attempt="1", clock=lambda: {FakeClock().now}).advance()
"""


class Held:
    """A fault in the sandbox: an answer that is held back until whoever waits for it is gone."""

    def __init__(self, *, does_work: bool) -> None:
        self.has_begun = threading.Event()
        self._does_work = does_work

    async def __call__(self, app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        async def swallow(message: Message) -> None:
            """Keep the answer."""

        if self._does_work:
            await app(scope, receive, swallow)
        self.has_begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=5) as server:
        desk = Desk(server, clock, tmp_path)
        desk.write(*["sandbox-echo"] * 6)
        yield desk


@pytest.mark.parametrize("does_work", [pytest.param(True, id="after-the-work"), pytest.param(False, id="before-it")])
def test_sigkill_during_the_paid_call_costs_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, does_work: bool
) -> None:
    """The process is killed while the service makes its batch: the next try finds it, or makes it, and each shard has one."""
    held = Held(does_work=does_work)
    monkeypatch.setitem(HANDLERS, "latency", held)
    desk.server.faults.add("POST /batches", "latency", times=1)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, desk.server.url, str(desk.input), str(desk.output)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert held.has_begun.wait(60)
    finally:
        worker.kill()
        assert worker.wait(60) == -signal.SIGKILL
    assert desk.journal()["pieces"][0]["submission"]["batch_id"] is None
    desk.clock.advance(60)

    desk.finish("2")

    assert desk.server.calls["POST /batches"] == (3 if does_work else 4)
    assert len(desk.batches()) == len(desk.live()) == 3
    assert [row["custom_id"] for row in desk.rows()] == [f"row-{number}" for number in range(6)]
    assert desk.outcomes() == ["succeeded"] * 6
    assert desk.server.files() == []
    assert desk.left_behind() == []
