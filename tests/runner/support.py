"""What the tests of the run share: a desk with a service, a clock, an input and an output, and workers that crash."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.runner import BatchRun, Finished, Waiting
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.storage import whole_files
from airflow_batch_provider.storage.landed import SharedFile, SharedSlot
from airflow_batch_provider.storage.shards import RunFolder
from tests.fakes import FakeClock, Probe, ProbedTransport
from tests.samples import jsonl, request

OWNER = TaskIdentity("nightly", "label", "scheduled__2026-11-24")
LIVE = ("validating", "in_progress", "finalizing", "completed", "expired")
RUNNING = ("validating", "in_progress", "finalizing")
PAIRS = BatchLimits(max_requests=2)


def nothing(point: str) -> None:
    """Let a worker pass."""


@dataclass
class Desk:
    """
    A service and one task instance with an input and an output of its own.

    :param server: The service.
    :param clock: The clock of both.
    :param folder: Input and output are in it.
    :param owner: The task instance.
    """

    server: SandboxServer
    clock: FakeClock
    folder: Path
    owner: TaskIdentity = OWNER
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> Path:
        return self.folder / "input.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def write(self, *models: str, **changes: Any) -> None:
        """Write the input: a request per model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.input.write_bytes(jsonl([request(n, model=model, **changes) for n, model in enumerate(models)]))

    @contextmanager
    def worker(
        self,
        attempt: str = "1",
        *,
        resumes: bool = False,
        probe: Probe = nothing,
        network: httpx.BaseTransport | None = None,
        **options: Any,
    ) -> Iterator[BatchRun]:
        """Start a worker's part of the run: a try, or a deferred try that resumes."""
        values: dict[str, Any] = {"input": str(self.input), "output": str(self.output), "limits": PAIRS}
        settings = ServiceSettings(base_url=self.server.url, max_retries=3)
        # Reading certificates would take 50 ms each time.
        transport = ProbedTransport(probe, network or httpx.HTTPTransport(verify=False))
        with BatchClient(settings, transport=transport, sleep=self.clock.sleep, jitter=lambda: 0.0) as client:
            yield BatchRun(
                client,
                RunOptions(**values | self.options | options),
                owner=self.owner,
                attempt=attempt,
                is_new_attempt=not resumes,
                clock=self.clock,
            )

    def advance(self, attempt: str = "1", **how: Any) -> Waiting | Finished:
        """Let a worker do what can be done now, and go."""
        with self.worker(attempt, **how) as run:
            return run.advance()

    def finish(self, attempt: str = "1", *, pause: float = 60.0, **how: Any) -> dict[str, Any]:
        """Let a try go on to its end, a new worker after each wait."""
        for _ in range(60):
            step = self.advance(attempt, **how)
            if isinstance(step, Finished):
                return step.summary
            self.clock.advance(pause)
            how["resumes"] = True
        raise AssertionError(f"The run does not end: {step}")

    def batches(self) -> list[dict[str, Any]]:
        """All batches of this task instance there ever were, oldest first."""
        runs = ((batch["metadata"] or {}).get("airflow_run_id") for batch in self.server.batches())
        return [batch for batch, run_id in zip(self.server.batches(), runs, strict=True) if run_id == self.owner.run_id]

    def live(self, *statuses: str) -> list[str]:
        """Ids of batches that run or brought rows."""
        return [batch["id"] for batch in self.batches() if batch["status"] in (statuses or LIVE)]

    def calls(self) -> int:
        """How many calls the service has got."""
        return sum(self.server.calls.values())

    def journal(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.journal_path.read_bytes())
        return found

    @property
    def journal_path(self) -> Path:
        return self.output / "_run" / "journal.json"

    @property
    def results(self) -> bytes | None:
        path = self.output / "results.jsonl"
        return path.read_bytes() if path.exists() else None

    def rows(self) -> list[dict[str, Any]]:
        """The results."""
        return [json.loads(line) for line in (self.results or b"").splitlines()]

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rows()]

    def settled(self) -> list[dict[str, Any]]:
        """The results without what tells one run from another: ids of batches and moments."""
        rows = self.rows()
        for row in rows:
            row.pop("batch_id")
            (row["response"] or {}).pop("created", None)
        return rows

    def left_behind(self) -> list[str]:
        """Names of files below the output that are neither results nor the journal."""
        kept = {"results.jsonl", "failures.jsonl", "summary.json", "journal.json"}
        return sorted(
            str(path.relative_to(self.output))
            for path in self.output.rglob("*")
            if path.is_file() and path.name not in kept
        )


def new_desk(server: SandboxServer, clock: FakeClock, folder: Path, **options: Any) -> Desk:
    """
    Set up a task instance that nobody knows yet.

    :param server: The service.
    :param clock: Its clock; moved on, so that the batches of earlier task instances are out of sight.
    :param folder: For input and output.
    :param options: Parameters of the run.
    """
    clock.advance(10_000)
    return Desk(server, clock, folder, replace(OWNER, run_id=f"manual__{clock():.0f}"), options)


@contextmanager
def dying_worker(output: Path, probe: Probe) -> Iterator[None]:
    """
    Make the files of a worker like those of one that may be killed: nothing is cleaned up on the way out.

    :param output: The run's output.
    :param probe: Called before each file in it appears (``before write <name>``) or goes (``before remove <name>``), and
        before landed rows are written and synced.
    """
    publish, remove = whole_files.WholeFile._publish, RunFolder.remove
    link, fill, sync = whole_files.link_whole, SharedSlot.fill, SharedFile.sync

    def probed_link(source: str, path: ObjectStoragePath, **how: Any) -> bool:
        probe(f"before write {path.name}")
        return link(source, path, **how)

    def probed_fill(self: SharedSlot, *args: Any) -> None:
        probe("before write landed rows")
        fill(self, *args)

    def probed_sync(self: SharedFile) -> None:
        probe("before sync landed rows")
        sync(self)

    def probed_publish(self: whole_files.WholeFile) -> None:
        if str(self.path).startswith(str(output)):
            probe(f"before write {self.path.name}")
        publish(self)

    def probed_remove(self: RunFolder, paths_to_remove: list[str]) -> None:
        for path in filter(os.path.exists, paths_to_remove):
            probe(f"before remove {path.rsplit('/', 1)[-1]}")
            remove(self, [path])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_files.WholeFile, "_publish", probed_publish)
        patch.setattr(whole_files.WholeFile, "_discard", lambda self: self._stream.close())
        patch.setattr(RunFolder, "remove", probed_remove)
        patch.setattr(whole_files, "link_whole", probed_link)
        patch.setattr(SharedSlot, "fill", probed_fill)
        patch.setattr(SharedFile, "sync", probed_sync)
        patch.setattr("os.fsync", lambda number: None)  # workers die here, machines do not; the disk is slow
        yield


def on_call(call: str, act: Callable[[], object], *, times: int = 1) -> Probe:
    """
    Build a probe that does something the first times a call comes by.

    :param call: Such as ``before POST /batches``.
    :param act: What to do.
    :param times: How often.
    """
    left = [times]

    def probe(point: str) -> None:
        if point == call and left[0]:
            left[0] -= 1
            act()

    return probe
