"""The paid call through the gateway: whatever gets lost on the way, one batch is made and every row comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.identity import KEY_FIELD
from airflow_batch_provider.exceptions import BatchError, SubmissionUnknownError
from airflow_batch_provider.sandbox import SandboxServer
from tests.gateway.support import (
    Connect,
    FakeClock,
    FakeMemory,
    read_rows,
    rows,
    small_upload,
    submission,
    upload_path,
    wait,
)

T = TypeVar("T")

MAX_TRIES = 40
CHAOS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after": 0},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "drop"},
    {"kind": "truncate", "at": 0.5},
    {"kind": "lost_answer"},
]


def live(sandbox: SandboxServer, key: str) -> list[str]:
    """Ids of the batches with a key that cost money."""
    return [
        batch["id"]
        for batch in sandbox.batches()
        if (batch["metadata"] or {}).get(KEY_FIELD) == key
        and batch["status"] not in ("cancelled", "cancelling", "failed")
    ]


@pytest.fixture
def file_id(connect: Connect, sandbox: SandboxServer) -> str:
    return connect(sandbox.url).upload_file(small_upload(rows(3))).id


def test_a_lost_answer_is_settled_by_one_look(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, file_id: str
) -> None:
    """The gateway's 500 says nothing about the batch; it is found at the service and adopted at once."""
    sandbox.faults.add("POST /batches", "lost_answer", times=1)
    memory = FakeMemory()
    batch = submission(connect(sandbox.url), memory, file_id, "k1", clock, is_first_try=True).submit()
    assert live(sandbox, "k1") == [batch.id]
    assert sandbox.calls["POST /batches"] == 1
    assert memory.record is not None
    assert memory.record["batch_id"] == batch.id


def test_a_lost_answer_and_a_service_that_cannot_be_asked_is_settled_by_the_retry(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, file_id: str
) -> None:
    """The first try ends unknown and says so; the retry finds the batch and creates none."""
    sandbox.faults.add("POST /batches", "lost_answer", times=1)
    sandbox.faults.add("GET /batches", "status", status=503)
    client, memory = connect(sandbox.url), FakeMemory()
    with pytest.raises(SubmissionUnknownError, match="not known whether the batch was created") as raised:
        submission(client, memory, file_id, "k1", clock, is_first_try=True).submit()
    assert raised.value.retryable
    with pytest.raises(SubmissionUnknownError, match="could not be asked"):
        submission(client, memory, file_id, "k1", clock, is_first_try=False).submit()
    sandbox.faults.clear()
    batch = submission(client, memory, file_id, "k1", clock, is_first_try=False).submit()
    assert live(sandbox, "k1") == [batch.id]
    assert sandbox.calls["POST /batches"] == 1


def test_a_dead_worker_without_a_memory_is_settled_by_the_retry(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, file_id: str
) -> None:
    """Before Airflow 3.3 nothing is remembered; the key in the metadata finds the batch all the same."""
    client = connect(sandbox.url)
    first = submission(client, FakeMemory(), file_id, "k1", clock, is_first_try=True).submit()
    again = submission(client, FakeMemory(), file_id, "k1", clock, is_first_try=False).submit()
    assert again.id == first.id
    assert live(sandbox, "k1") == [first.id]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"kind": "drop"}, id="connection cut before the work"),
        pytest.param({"kind": "status", "status": 500}, id="refused with 500"),
        pytest.param({"kind": "html", "status": 502}, id="refused with a page"),
        pytest.param({"kind": "truncate", "at": 0.5}, id="answer cut"),
        pytest.param({"kind": "truncate", "at": 0.5, "silent": True}, id="answer cut without a trace"),
        pytest.param({"kind": "lost_answer", "status": 500}, id="created and answered with 500"),
    ],
)
def test_each_way_to_lose_an_answer_ends_in_one_batch(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, file_id: str, fault: dict[str, Any]
) -> None:
    """Done or not done, after as many tries as it takes there is one batch."""
    sandbox.faults.add("POST /batches", times=1, **fault)
    client, memory = connect(sandbox.url), FakeMemory()
    batch = until_it_works(
        lambda number: submission(client, memory, file_id, "k1", clock, is_first_try=number == 1).submit(), list
    )
    assert live(sandbox, "k1") == [batch.id]


def until_it_works(attempt: Callable[[int], T], between: Callable[[], object]) -> T:
    """Do what Airflow does with a task that has retries left: try again what may be tried again."""
    for number in range(1, MAX_TRIES):
        try:
            return attempt(number)
        except BatchError as error:
            if not error.retryable:
                raise
            between()
    pytest.fail("no try worked")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chaos_costs_nothing_twice_and_loses_no_row(
    connect: Connect, revive: Callable[[], object], clock: FakeClock, tmp_path: Path, pauses: list[float], seed: int
) -> None:
    """Ten tasks through the gateway while every tenth call fails in some way: one live batch each, and all rows."""
    with SandboxServer(clock=clock, seed=seed) as sandbox:
        for fault in CHAOS:
            sandbox.faults.add("*", rate=0.1 / len(CHAOS), **fault)
        retries: list[str] = []

        def between() -> None:
            retries.append("task")
            revive()

        client = connect(sandbox.url, max_retries=1)
        keys = [f"task-{number}" for number in range(10)]
        for key in keys:
            _run_task(client, clock, tmp_path, key, between)
        assert pauses or retries, "nothing went wrong, so nothing was tested"
        assert [len(live(sandbox, key)) for key in keys] == [1] * 10


def _run_task(client: BatchClient, clock: FakeClock, folder: Path, key: str, between: Callable[[], None]) -> None:
    memory, content = FakeMemory(), rows(20, key)

    input_id = until_it_works(lambda _: upload_path(client, folder / f"{key}.jsonl", content), between)

    def submit(number: int) -> Batch:
        return submission(client, memory, input_id, key, clock, is_first_try=number == 1).submit()

    batch = until_it_works(submit, between)
    ended = until_it_works(lambda _: wait(client, batch.id, clock), between)
    result = until_it_works(lambda _: collect_results(client, ended, str(folder / key)), between)
    assert result["errors"] is None
    answers = {
        name: row["response"]["body"]["choices"][0]["message"]["content"]
        for name, row in read_rows(result["output"]["path"]).items()
    }
    assert answers == {f"row-{index}": f"{key} {index}" for index in range(20)}
