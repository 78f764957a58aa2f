"""Chaos: whole runs against a service of which every tenth call fails, retried as Airflow would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.exceptions import BatchError
from airflow_batch_provider.runner import BatchRun, Finished
from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock
from tests.gateway.conftest import Revive, revive  # noqa: F401 - a fixture
from tests.gateway.support import settings as gateway_settings
from tests.samples import jsonl, request

OWNER = TaskIdentity("dag", "label", "run-1")
REQUESTS, SHARD = 300, 15
MAX_ATTEMPTS = 150
# A model of the sandbox for some of the rows: final refusals, and passing ones that make a second round.
MODELS = {7: "sandbox-fail-400", 11: "sandbox-fail-429", 13: "sandbox-fail-500"}
WRITTEN = ["_run/journal.json", "failures.jsonl", "results.jsonl", "summary.json"]

Connect = Callable[[], BatchClient]


class World:
    """A sandbox on a clock of its own, an input, and runs over it."""

    def __init__(self, folder: Path, server: SandboxServer, clock: FakeClock) -> None:
        self.server = server
        self.clock = clock
        self.attempts = 0
        self.output = folder / "out"
        self.input = folder / "in.jsonl"
        self.input.write_bytes(jsonl([request(n, model=MODELS.get(n % 17, "sandbox-echo")) for n in range(REQUESTS)]))

    def options(self) -> RunOptions:
        return RunOptions(
            input=str(self.input),
            output=str(self.output),
            limits=BatchLimits(max_requests=SHARD),
            metadata={"sandbox": "fail_rows=0.1 missing_rows=0.05"},
            landings_at_a_time=2,
        )

    def run(self, connect: Connect) -> dict[str, Any]:
        """Try again after each exception, as Airflow would, until the run has finished."""
        for attempt in range(1, MAX_ATTEMPTS):
            self.attempts = attempt
            with connect() as client:
                run = BatchRun(client, self.options(), owner=OWNER, attempt=str(attempt), clock=self.clock)
                try:
                    return self._advance(run)
                except BatchError as error:
                    if not error.retryable:
                        raise  # Airflow would not try again
            self.clock.advance(300)
        raise AssertionError("The run does not end.")

    def _advance(self, run: BatchRun) -> dict[str, Any]:
        while not isinstance(step := run.advance(), Finished):
            self.clock.advance(900)
        return step.summary

    def results(self) -> list[dict[str, Any]]:
        """The rows without what the sandbox made up: ids of batches and times."""
        rows = [json.loads(line) for line in (self.output / "results.jsonl").read_bytes().splitlines()]
        for row in rows:
            del row["batch_id"]
            if row["response"]:
                row["response"].pop("created", None)
        return rows

    def failures(self) -> bytes:
        return (self.output / "failures.jsonl").read_bytes()

    def written(self) -> list[str]:
        return sorted(str(path.relative_to(self.output)) for path in self.output.rglob("*") if path.is_file())

    def assert_same_as(self, clean: World, summary: dict[str, Any], clean_summary: dict[str, Any]) -> None:
        assert self.results() == clean.results()
        assert self.failures() == clean.failures()
        same = ("requests", "outcomes", "reasons", "usage", "rounds", "batches")
        assert {key: summary[key] for key in same} == {key: clean_summary[key] for key in same}
        # One batch for each shard and round, live or ended: none was made twice, and none but these is there.
        assert sorted(batch["id"] for batch in self.server.batches()) == sorted(summary["batch_ids"])
        assert self.written() == clean.written() == WRITTEN


def add_faults(server: SandboxServer) -> None:
    """Every tenth call of every route fails, in one of six ways."""
    add = server.faults.add
    add("*", "status", rate=0.02, status=500)
    add("*", "status", rate=0.02, status=429, retry_after=0)
    add("*", "drop", rate=0.02)
    add("*", "truncate", rate=0.01)
    add("*", "truncate", rate=0.01, silent=True)
    add("*", "lost_answer", rate=0.02)


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[Callable[[int], World]]:
    """Give a maker of worlds by seed; their servers end with the test."""
    servers: list[SandboxServer] = []

    def new_world(seed: int) -> World:
        clock = FakeClock()
        servers.append(SandboxServer(clock=clock, seed=seed).__enter__())
        return World(tmp_path / f"world-{len(servers)}", servers[-1], clock)

    (tmp_path / "world-1").mkdir()
    (tmp_path / "world-2").mkdir()
    yield new_world
    for server in servers:
        server.__exit__()


def direct(world: World, max_retries: int) -> Connect:
    settings = ServiceSettings(base_url=world.server.url, max_retries=max_retries)
    return lambda: BatchClient(settings, sleep=lambda seconds: None)


@pytest.mark.parametrize(
    ("seed", "max_retries"),
    [
        *(pytest.param(seed, 5, id=f"client-retries-{seed}") for seed in (1, 2)),
        *(pytest.param(seed, 0, id=f"only-airflow-retries-{seed}") for seed in (1, 2, 3)),
    ],
)
def test_chaos_changes_no_row_and_makes_no_batch_twice(
    new_world: Callable[[int], World], seed: int, max_retries: int
) -> None:
    """With every tenth call failing a run of 20 shards ends as if nothing had happened, for the price of one run."""
    clean, world = new_world(seed), new_world(seed)
    clean_summary = clean.run(direct(clean, 0))
    assert (clean.attempts, clean_summary["rounds"], clean.server.files()) == (1, 2, [])
    add_faults(world.server)
    if not max_retries:  # worse where money is spent: answers lost, and nobody to ask
        world.server.faults.add("POST /batches", "lost_answer", rate=0.2)
        world.server.faults.add("GET /batches", "status", rate=0.3)

    summary = world.run(direct(world, max_retries))

    world.assert_same_as(clean, summary, clean_summary)
    if max_retries:
        assert world.server.files() == []
    else:
        assert world.attempts > 5  # the faults were felt


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed-{seed}") for seed in (4,)])
def test_chaos_behind_the_gateway_changes_no_row_and_makes_no_batch_twice(
    new_world: Callable[[int], World],
    revive: Revive,  # noqa: F811 - the fixture
    seed: int,
) -> None:
    """The same through the real gateway, which turns lost connections into answers of its own and sometimes dies."""
    clean, world = new_world(seed), new_world(seed)
    clean_summary = clean.run(direct(clean, 0))
    add_faults(world.server)

    def pause(seconds: float) -> None:
        revive()

    def connect() -> BatchClient:
        settings = gateway_settings(revive(), world.server.url, max_retries=5)
        assert urlsplit(settings.base_url).port != urlsplit(world.server.url).port
        return BatchClient(settings, sleep=pause)

    summary = world.run(connect)

    world.assert_same_as(clean, summary, clean_summary)
    assert world.server.files() == []
