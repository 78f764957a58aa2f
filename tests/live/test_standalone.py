"""A deferrable DAG in a real Airflow: scheduler, triggerer, API server, worker processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.sandbox import SandboxServer
from tests.live.airflow import Airflow, connection, standalone, wait_until
from tests.samples import create_batch, jsonl, request

DAG = "live_waits"
CONSOLE = "https://console.example/{batch_id}"


@pytest.fixture(scope="module")
def service() -> Iterator[SandboxServer]:
    """Give a service whose batches take a few seconds."""
    with SandboxServer(port=0, time_scale=1, seed=1) as server:
        yield server


@pytest.fixture(scope="module")
def airflow(service: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Give an Airflow that knows the service and has the examples and our own DAGs."""
    dags = tmp_path_factory.mktemp("dags")
    root = Path(__file__).resolve().parent
    for path in [*(root.parent.parent / "example_dags").glob("*.py"), *(root / "dags").glob("*.py")]:
        (dags / path.name).write_text(path.read_text())
    home = tmp_path_factory.mktemp("airflow")
    with standalone(home, dags, AIRFLOW_CONN_BATCH_DEFAULT=connection(service.url, console_url=CONSOLE)) as started:
        yield started


@pytest.fixture(scope="module")
def client(service: SandboxServer) -> Iterator[BatchClient]:
    """Give a client of the service."""
    with BatchClient(ServiceSettings.from_parts(host=service.url)) as opened:
        yield opened


def made(service: SandboxServer, run_id: str, task_id: str) -> list[dict[str, Any]]:
    """List the batches that one task instance made."""
    who = {"airflow_run_id": run_id, "airflow_task_id": task_id}
    return [b for b in service.batches() if who.items() <= (b["metadata"] or {}).items()]


def test_bricks_run_deferrable(airflow: Airflow, service: SandboxServer, tmp_path: Path) -> None:
    """The main example succeeds with a real triggerer; its log tells the story and no secret."""
    run_id = airflow.trigger("example_batch_bricks", {"folder": str(tmp_path), "requests": 300})

    assert airflow.wait_for_run("example_batch_bricks", run_id) == "success"
    pulled = airflow.xcom("example_batch_bricks", run_id, "pull")
    pulled = json.loads(pulled) if isinstance(pulled, str) else pulled
    log = airflow.log("example_batch_bricks", run_id, "wait")
    assert pulled["output"]["rows"] == 300
    assert len(Path(pulled["output"]["path"]).read_text().splitlines()) == 300
    assert len(made(service, run_id, "create")) == 1
    assert "Nothing holds a worker meanwhile" in log
    assert "300 of 300 done" in log
    assert "sk-live-key" not in log


def test_link_is_there_while_deferred_and_after(airflow: Airflow, service: SandboxServer, client: BatchClient) -> None:
    """The task's link leads to the batch while it waits and after it has ended."""
    file_id = create_batch(client, sandbox="outcome=failed").input_file_id
    run_id = airflow.trigger(DAG, {"file_id": file_id, "sandbox": "seconds=15"})
    links = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/deferred/links"

    airflow.wait_for_task(DAG, run_id, "deferred", {"deferred"})
    (batch,) = made(service, run_id, "deferred")
    while_deferred = airflow.call("GET", links)["extra_links"]
    airflow.wait_for_task(DAG, run_id, "deferred", {"success"})

    assert while_deferred == {"Batch": CONSOLE.format(batch_id=batch["id"])}
    assert airflow.call("GET", links)["extra_links"] == while_deferred


@pytest.mark.parametrize("task_id", ["deferred", "on_worker"])
def test_marked_failed_cancels_the_batch(
    airflow: Airflow, service: SandboxServer, client: BatchClient, task_id: str
) -> None:
    """A person who marks the waiting task failed stops the batch, and only this one."""
    file_id = create_batch(client, sandbox="outcome=failed").input_file_id
    run_id = airflow.trigger(DAG, {"file_id": file_id, "sandbox": "stall=true"})
    airflow.wait_for_task(DAG, run_id, task_id, {"deferred" if task_id == "deferred" else "running"})
    (batch,) = wait_until(lambda: made(service, run_id, task_id), "the batch was created")
    other = "on_worker" if task_id == "deferred" else "deferred"
    (bystander,) = wait_until(lambda: made(service, run_id, other), "the other batch was created")
    if task_id == "deferred":
        # Before a triggerer runs the trigger there is nobody whom Airflow could tell.
        wait_until(lambda: "starting" in airflow.log(DAG, run_id, task_id), "the trigger runs")

    airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task_id}", {"new_state": "failed"})

    wait_until(lambda: client.get_batch(batch["id"]).status.value == "cancelled", "the batch is cancelled")
    assert client.get_batch(bystander["id"]).status.may_be_cancelled
    airflow.call("PATCH", f"/dags/{DAG}/dagRuns/{run_id}", {"state": "failed"})


@pytest.mark.parametrize("task_id", ["deferred", "on_worker"])
def test_cleared_task_takes_its_batch_again(
    airflow: Airflow, service: SandboxServer, client: BatchClient, task_id: str
) -> None:
    """Clearing a waiting task cancels nothing and pays nothing: the new try waits for the same batch."""
    file_id = create_batch(client, sandbox="outcome=failed").input_file_id
    run_id = airflow.trigger(DAG, {"file_id": file_id, "sandbox": "seconds=45"})
    waiting = {"deferred" if task_id == "deferred" else "running"}
    airflow.wait_for_task(DAG, run_id, task_id, waiting)
    (batch,) = wait_until(lambda: made(service, run_id, task_id), "the batch was created")

    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
    airflow.call("POST", f"/dags/{DAG}/clearTaskInstances", body)

    wait_until(lambda: airflow.task(DAG, run_id, task_id)["try_number"] == 2, "the second try has begun", 90)
    assert airflow.wait_for_task(DAG, run_id, task_id, {"success", "failed"}, 180) == "success"
    assert [b["id"] for b in made(service, run_id, task_id)] == [batch["id"]]
    assert airflow.xcom(DAG, run_id, task_id) == batch["id"]
    assert client.get_batch(batch["id"]).status.value == "completed"
    assert "re-attached, nothing is paid again" in airflow.log(DAG, run_id, task_id, 2)


def test_whole_run_cleared_while_deferred(
    airflow: Airflow, service: SandboxServer, client: BatchClient, tmp_path: Path
) -> None:
    """A whole run that is cleared in mid-wait goes on with its batches: every row once, in order, nothing paid twice."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(jsonl([request(number) for number in range(250)]))
    conf = {"input": str(source), "output": str(output), "sandbox": "seconds=30"}
    run_id = airflow.trigger("live_run", conf)
    airflow.wait_for_task("live_run", run_id, "run", {"deferred"})
    first = {batch["id"] for batch in made(service, run_id, "run")}

    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["run"], "only_failed": False}
    airflow.call("POST", "/dags/live_run/clearTaskInstances", body)

    assert airflow.wait_for_run("live_run", run_id, 240) == "success"
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"row-{number}" for number in range(250)]
    assert {row["outcome"] for row in rows} == {"succeeded"}
    assert {batch["id"] for batch in made(service, run_id, "run")} == first
    assert len(first) == 3
    assert all(batch["status"] == "completed" for batch in made(service, run_id, "run"))
    # What people see meanwhile is about the run: its rows, whatever of it has landed, and a way to its first batch.
    assert "250 of 250 done" in airflow.log("live_run", run_id, "run", 2)
    progress = airflow.xcom("live_run", run_id, "run", "batch_progress")
    progress = json.loads(progress) if isinstance(progress, str) else progress
    assert (progress["batches"], progress["total"]) == (3, 250)
    links = airflow.call("GET", f"/dags/live_run/dagRuns/{run_id}/taskInstances/run/links")["extra_links"]
    assert links["Batch"] in {CONSOLE.format(batch_id=batch_id) for batch_id in first}


def test_worker_killed_in_mid_run(
    airflow: Airflow, service: SandboxServer, client: BatchClient, tmp_path: Path
) -> None:
    """A worker process that is killed with SIGKILL while it creates a batch pays nothing twice."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(jsonl([request(number) for number in range(250)]))
    # The create call hangs: there the worker is killed.
    before = service.calls["POST /batches"]
    service.faults.add("POST /batches", "latency", times=1, seconds=20)

    run_id = airflow.trigger("live_run", {"input": str(source), "output": str(output), "sandbox": ""})
    wait_until(lambda: service.calls["POST /batches"] > before, "the create call is under way")
    psutil.Process(airflow.task("live_run", run_id, "run")["pid"]).kill()

    assert airflow.wait_for_run("live_run", run_id, 400) == "success"
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"row-{number}" for number in range(250)]
    assert airflow.task("live_run", run_id, "run")["try_number"] == 2
    live = [batch for batch in made(service, run_id, "run") if batch["status"] == "completed"]
    assert len(live) == 3
