"""A whole run with input and output on object storage, through Airflow's amazon provider and s3fs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.exceptions import InputError, StaleJournalError
from airflow_batch_provider.joining import joiners
from airflow_batch_provider.runner import BatchRun, Finished, Waiting
from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock, Probe, ProbedTransport, WorkerCrash
from tests.samples import jsonl, request
from tests.storage.test_s3 import BUCKET, Lake, lake, s3  # noqa: F401 - fixtures

OUT = "labels/2026-11-24"
NAMES = ("_run/journal.json", "failures.jsonl", "results.jsonl", "summary.json")
FINISHED = [*(f"{OUT}/{name}" for name in NAMES), "prompts.jsonl"]
MODELS = ["sandbox-echo", "sandbox-fail-400", "sandbox-fail-500", "sandbox-echo", "sandbox-echo"]
REQUESTS = [request(number, model=MODELS[number % 5]) for number in range(50)]


@dataclass
class Desk:
    """A bucket, a service and a clock."""

    lake: Lake
    server: SandboxServer
    clock: FakeClock
    source: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def advance(self, attempt: str, probe: Probe = lambda point: None) -> Waiting | Finished:
        settings = ServiceSettings(base_url=self.server.url, max_retries=0)
        with BatchClient(settings, transport=ProbedTransport(probe), sleep=self.clock.sleep) as client:
            limits = BatchLimits(max_requests=25)
            options = RunOptions(self.source, self.lake.url(OUT), limits=limits, **self.options)
            owner = TaskIdentity("dag", "label", "run-1")
            return BatchRun(client, options, owner=owner, attempt=attempt, clock=self.clock).advance()

    def finish(self, attempt: str = "1", probe: Probe = lambda point: None) -> dict[str, Any]:
        while not isinstance(step := self.advance(attempt, probe), Finished):
            self.clock.advance(3600)
        return step.summary

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self.lake.get(f"{OUT}/results.jsonl").splitlines()]

    def settled(self) -> list[tuple[Any, ...]]:
        return [(row["index"], row["custom_id"], row["outcome"], row["round"]) for row in self.results()]


@pytest.fixture
def desk(lake: Lake) -> Iterator[Desk]:  # noqa: F811 - the fixture
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=3) as server:
        yield Desk(lake, server, clock, lake.put("prompts.jsonl", jsonl(REQUESTS)))


EXPECTED = [
    (number, f"row-{number}", "failed" if number % 5 in (1, 2) else "succeeded", int(number % 5 == 2))
    for number in range(50)
]


@pytest.mark.parametrize("by", ["one-at-a-time", "threads", "helpers"])
def test_a_run_from_bucket_to_bucket(desk: Desk, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """All rows in order, what failed as an input again, and nothing else left: no shard, no unfinished upload."""
    monkeypatch.setattr(joiners, "_cores", lambda: 2)
    monkeypatch.setattr(joiners, "MIN_HELPED_REQUESTS", 1 if by == "helpers" else 1000)
    desk.options = {"landings_at_a_time": 1 if by == "one-at-a-time" else 2}
    summary = desk.finish()

    assert desk.settled() == EXPECTED
    assert desk.lake.objects() == FINISHED
    assert desk.lake.unfinished() == []
    assert desk.lake.get(f"{OUT}/failures.jsonl") == jsonl([each for n, each in enumerate(REQUESTS) if n % 5 in (1, 2)])
    assert json.loads(desk.lake.get(f"{OUT}/summary.json")) == summary
    assert (summary["results"], summary["batches"]) == (desk.lake.url(f"{OUT}/results.jsonl"), 3)
    assert desk.server.files() == []


def test_large_rows_do_not_come_back_to_be_put_together(desk: Desk) -> None:
    """The store makes the results of the objects it has: one part for each batch, and nobody reads or writes them."""
    message = {"role": "user", "content": "x" * 250_000}
    large = [request(number, body={"model": "sandbox-echo", "messages": [message]}) for number in range(50)]
    desk.lake.put("prompts.jsonl", jsonl(large))
    desk.finish()

    assert desk.settled() == [(number, f"row-{number}", "succeeded", 0) for number in range(50)]
    assert desk.lake.s3.head_object(Bucket=BUCKET, Key=f"{OUT}/results.jsonl")["ETag"].endswith('-2"')
    assert desk.lake.objects() == [name for name in FINISHED if "failures" not in name]
    assert desk.lake.unfinished() == []


@pytest.mark.parametrize("pattern", ["in", "in/", "in/*.jsonl*"])
def test_a_folder_and_a_glob_on_a_bucket(desk: Desk, pattern: str) -> None:
    """Files of a prefix are one input, in the order of their names, also compressed."""
    desk.lake.put("in/b.jsonl", jsonl(REQUESTS[20:]))
    desk.lake.put("in/a.jsonl.gz", gzip.compress(jsonl(REQUESTS[:20])))
    desk.lake.put("in/notes.txt", b"not an input")
    desk.source = desk.lake.url(pattern)
    desk.finish()

    assert desk.settled() == EXPECTED


@pytest.mark.parametrize(
    ("crash_at", "times"),
    [
        pytest.param("before POST /files", 2, id="upload"),
        pytest.param("after POST /batches", 1, id="created-and-not-noted"),
        pytest.param("after POST /batches", 3, id="second-round"),
        pytest.param("content", 3, id="landing"),
        pytest.param("before DELETE", 2, id="cleanup"),
    ],
)
def test_a_crash_is_gone_on_from(desk: Desk, crash_at: str, times: int) -> None:
    """A worker that dies anywhere leaves nothing half-written; the next try ends the run, with no batch made twice."""
    left = [times]

    def probe(point: str) -> None:
        if crash_at in point:
            left[0] -= 1
            if not left[0]:
                raise WorkerCrash(point)

    with pytest.raises(WorkerCrash):
        desk.finish("1", probe)
    for name in set(desk.lake.objects()) - {"prompts.jsonl"}:
        content = desk.lake.get(name)
        assert content.endswith((b"\n", b"}")) or name.endswith(".positions")  # whole files only
    assert desk.lake.unfinished() == []
    desk.clock.advance(300)

    summary = desk.finish("2")

    assert desk.settled() == EXPECTED
    assert desk.lake.objects() == FINISHED
    assert sorted(batch["id"] for batch in desk.server.batches()) == sorted(summary["batch_ids"])
    assert len(summary["batch_ids"]) == 3


def test_rows_of_a_lost_try_go_with_the_others(desk: Desk) -> None:
    """Every try has objects of its own: what one left that nobody noted is found when the run tidies up."""
    desk.advance("1")
    desk.lake.put(f"{OUT}/_run/landed/0-00000-0123456789ab.jsonl", b"{}")
    desk.lake.put(f"{OUT}/_run/landed/0-00000-0123456789ab.jsonl.0-00000.positions", b"")
    desk.clock.advance(3600)
    desk.finish("2")

    assert desk.settled() == EXPECTED
    assert desk.lake.objects() == FINISHED


def test_an_input_with_problems_leaves_the_bucket_as_it_was(desk: Desk) -> None:
    """No shard is left, nothing is sent."""
    desk.lake.put("prompts.jsonl", jsonl(REQUESTS) + b"oops\n")
    with pytest.raises(InputError, match="line 51"):
        desk.finish()

    assert desk.lake.objects() == ["prompts.jsonl"]
    assert desk.lake.unfinished() == []
    assert desk.server.calls == {}


def test_a_changed_object_is_noticed_by_a_retry(desk: Desk) -> None:
    """Another content of the same length is another input; the same content put there again is the same."""
    desk.advance("1")
    desk.lake.put("prompts.jsonl", jsonl(REQUESTS).replace(b"prompt 7", b"Prompt 7"))
    with pytest.raises(StaleJournalError):
        desk.advance("2")
    desk.lake.put("prompts.jsonl", jsonl(REQUESTS))

    desk.finish("3")
    assert desk.settled() == EXPECTED


def test_a_finished_run_is_reused_without_a_call(desk: Desk) -> None:
    """Clearing a task that is done costs nothing on the bucket either."""
    first = desk.finish()
    calls = sum(desk.server.calls.values())

    assert desk.finish("2") == first
    assert sum(desk.server.calls.values()) == calls
