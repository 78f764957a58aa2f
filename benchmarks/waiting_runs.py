"""One run of the waiting benchmark: a fresh status server, a fresh process of triggers, and an idle loop beside them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import imports
from benchmarks.processes import ROOT, environment, server
from benchmarks.report import SkippedError
from benchmarks.waiting_probe import STATUS, LagProbe, spread

START_SECONDS = 60
MODULES = {
    "openai": "airflow.providers.openai.operators.openai",
    "common-ai": "airflow.providers.common.ai.operators.llm_batch",
}
WARNING = re.compile(r"\[warning\s*\] (.+?)\s+\[airflow_batch_provider")


@dataclass(frozen=True)
class Run:
    """
    What one run showed.

    :param worker: Measured by the process of the triggers, see ``waiting_worker``.
    :param service: Measured by the server, see ``waiting_server``.
    :param idle_lag_ms: Lateness of a loop in another process that has nothing else to do: the machine's own part.
    :param delays: Seconds from each batch's end to its event; up to the stop where there was none.
    :param detected: How many were noticed before the run was stopped.
    :param warnings: What our package warned about.
    """

    worker: dict[str, Any]
    service: dict[str, Any]
    idle_lag_ms: dict[str, float]
    delays: list[float]
    detected: int
    warnings: list[str]

    @property
    def requests(self) -> int:
        return sum(self.service["requests"].values())

    @property
    def grown_mb(self) -> float:
        return float(self.worker["grown_bytes"]) / 1e6

    @property
    def delay(self) -> dict[str, float]:
        return spread(self.delays)


def python_of(name: str) -> str:
    """
    The Python that has these triggers.

    :param name: ``ours``, ``openai`` or ``common-ai``.
    :raises SkippedError: The peer is not there; the text says why.
    """
    if name == "ours":
        return sys.executable
    found, missing = imports._peers()  # noqa: SLF001
    if MODULES[name] not in found:
        raise SkippedError(missing[MODULES[name]])
    return str(imports._python_of_peers())  # noqa: SLF001


def wait_for(name: str, count: int, limit: float, folder: Path, *options: str) -> Run:
    """
    Have triggers wait, one batch each, until all have fired or the time is over.

    :param name: ``ours``, ``openai`` or ``common-ai``.
    :param count: How many triggers.
    :param limit: Seconds after which the run is stopped.
    :param folder: The benchmark's temporary folder.
    :param options: More of ``waiting_server``'s command line.
    :raises SkippedError: There is no /proc, or the peer is missing.
    """
    if not STATUS.exists():
        raise SkippedError("memory is measured through /proc, which only Linux has")
    target, log = folder / "waiting.json", folder / "waiting.log"
    target.unlink(missing_ok=True)
    python = python_of(name)
    with server("benchmarks.waiting_server", "--own", str(count), *options, folder=folder) as url:
        command = (python, "-m", "benchmarks.waiting_worker", name, url, str(count), str(limit), str(target))
        idle = asyncio.run(_beside_an_idle_loop(command, limit, folder, log))
        if not target.exists():
            raise RuntimeError(f"{' '.join(command[1:4])} measured nothing:\n{log.read_text()[-3000:]}")
        with urllib.request.urlopen(f"{url}/stats") as answer:
            service = json.load(answer)
    worker = json.loads(target.read_text())
    noticed, ends = worker.pop("noticed"), service.pop("ends")
    delays = [max(0.0, (at or worker["stopped_at"]) - end) for at, end in zip(noticed, ends, strict=True)]
    detected = sum(at is not None for at in noticed)
    if any(at is not None and at < end for at, end in zip(noticed, ends, strict=True)):
        raise RuntimeError("A trigger fired before its batch had ended: the benchmark is broken.")
    if name == "ours" and worker["others"]:
        raise RuntimeError(f"Triggers ended otherwise than with their batches: {worker['others']}")
    return Run(worker, service, idle, delays, detected, WARNING.findall(log.read_text()))


async def _beside_an_idle_loop(command: tuple[str, ...], limit: float, folder: Path, log: Path) -> dict[str, float]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment(folder), stdout=output, stderr=output
        )
        probe = LagProbe()
        watching = asyncio.create_task(probe.run())
        try:
            async with asyncio.timeout(limit + START_SECONDS):
                await process.wait()
        finally:
            watching.cancel()
            with suppress(ProcessLookupError):
                process.kill()
    return probe.spread()
