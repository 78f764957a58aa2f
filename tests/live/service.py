"""A service that can go away and come back with everything it knew, and whose batches end when the test says so."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_batch_provider.sandbox import SandboxServer

Batch = dict[str, Any]
OPEN = {"validating", "in_progress", "finalizing"}
# One step of the service's clock; longer than any test takes, so that nothing ends by itself.
STEP_SECONDS = 10_000


class Service:
    """
    The sandbox, on one port and over one folder for all its lives.

    :param folder: Where it keeps files and batches.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.steps = 0
        self._server: SandboxServer | None = None
        self._past_calls: Counter[str] = Counter()
        self._port = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    def up(self) -> None:
        """Start it, on the port it had, with what it knew."""
        server = SandboxServer(self._port, directory=self._folder, clock=self._now, patience=0.5, seed=1)
        self._server = server.__enter__()
        self._port = server.port

    def down(self) -> None:
        """End it: open connections are cut, new ones refused."""
        if self._server is not None:
            self._past_calls += self._server.calls
            self._server.__exit__(None, None, None)
            self._server = None

    def step(self) -> None:
        """Let one step of its time pass: batches made with ``ends_after(1)`` end, then those with 2, and so on."""
        self.steps += 1

    @property
    def url(self) -> str:
        """Base address for clients."""
        return self._running.url

    @property
    def calls(self) -> Counter[str]:
        """How often each route was called in all its lives."""
        return self._past_calls + (self._server.calls if self._server else Counter())

    @property
    def looks(self) -> int:
        """How often somebody asked how batches stand: single ones, or pages of the list."""
        return self.calls["GET /batches"] + self.calls["GET /batches/{id}"]

    @property
    def cancels(self) -> int:
        """How often somebody asked to cancel a batch."""
        return self.calls["POST /batches/{id}/cancel"]

    def batches(self, **made_by: str) -> list[Batch]:
        """
        List the batches.

        :param made_by: Only those with these Airflow ids: ``run_id``, ``task_id``, ``map_index``.
        """
        who = {f"airflow_{name}": value for name, value in made_by.items()}
        return [batch for batch in self._running.batches() if who.items() <= (batch["metadata"] or {}).items()]

    @property
    def _running(self) -> SandboxServer:
        assert self._server is not None, "The service is down."
        return self._server

    def _now(self) -> float:
        return time.time() + self.steps * STEP_SECONDS


def ends_after(steps: int) -> str:
    """
    Write the metadata that makes a batch end.

    :param steps: After so many steps of the service's time.
    """
    return f"seconds={steps * STEP_SECONDS - STEP_SECONDS / 2:.0f}"
