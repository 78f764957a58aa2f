"""The example DAGs, unchanged, through real Airflow against a local service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_batch_provider.sandbox import SandboxServer
from tests.dags import EXAMPLES, connection, load, run_example, states, xcom
from tests.samples import jsonl, request
from tests.servers import require
from tests.servers.portkey import portkey_gateway

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("example_*.py")), ids=lambda path: path.stem)
def test_example_loads(path: Path) -> None:
    """Every example can be loaded by a DAG processor."""
    name = path.stem.replace("example_", "example_batch_")

    assert load(name).task_ids


def test_bricks_bring_every_row_home(sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload, create, wait, download and delete work together, and leave no file at the service."""
    conf = {"folder": str(tmp_path), "requests": 200}

    run = run_example("example_batch_bricks", monkeypatch, conf=conf, batch_default=connection(sandbox.url))

    assert set(states(run).values()) == {"success"}
    pulled = xcom(run, "pull")
    rows = [json.loads(line) for line in Path(pulled["output"]["path"]).read_text().splitlines()]
    assert pulled["status"] == "completed"
    assert pulled["output"]["rows"] == len(rows) == 200
    assert {row["custom_id"] for row in rows} == {f"row-{n}" for n in range(1, 201)}
    assert len(sandbox.batches()) == 1
    assert sandbox.files() == []
    assert xcom(run, "wait")["status"] == "completed"


def test_sensor_waits_for_batches_of_others(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sensor waits for several batches and the results of each are downloaded."""
    from airflow_batch_provider.client import BatchClient, ServiceSettings
    from tests.samples import create_batch

    with BatchClient(ServiceSettings.from_parts(host=sandbox.url)) as client:
        ids = [create_batch(client, requests=20).id for _ in range(2)]
    conf = {"folder": str(tmp_path), "batch_ids": ids}

    run = run_example("example_batch_sensor", monkeypatch, conf=conf, batch_default=connection(sandbox.url))

    assert set(states(run).values()) == {"success"}
    assert [batch["id"] for batch in xcom(run, "wait")] == ids
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{i}_output.jsonl" for i in ids)


def test_inference_brings_every_row_home_in_order(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task takes every request there and back, in input order, split over batches, and tidies up."""
    conf = {"folder": str(tmp_path), "requests": 250}
    conn = connection(sandbox.url, max_batch_requests=100)

    run = run_example("example_batch_inference", monkeypatch, conf=conf, batch_default=conn)

    assert set(states(run).values()) == {"success"}
    summary = xcom(run, "label")
    rows = [json.loads(line) for line in Path(summary["results"]).read_text().splitlines()]
    assert summary["outcomes"]["succeeded"] == summary["requests"] == 250
    assert [row["index"] for row in rows] == list(range(250))
    assert [row["custom_id"] for row in rows] == [f"row-{n}" for n in range(1, 251)]
    assert len(sandbox.batches()) == summary["batches"] == 3
    assert sandbox.files() == []


def test_gateway_example_through_the_real_gateway(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a Portkey gateway one operator creates the batch and waits for it, deferred, and the rows come home."""
    source = tmp_path / "requests.jsonl"
    source.write_bytes(jsonl([request(number) for number in range(30)]))
    conf = {"path": str(source), "folder": str(tmp_path / "out")}

    with require(portkey_gateway()) as gateway:
        conn = connection(gateway.url, provider="openai", custom_host=sandbox.url, metadata={"team": "search"})
        run = run_example("example_batch_gateway", monkeypatch, conf=conf, batch_gateway=conn)

    assert set(states(run).values()) == {"success"}
    pulled = xcom(run, "pull")
    assert (pulled["output"]["rows"], pulled["errors"], pulled["status"]) == (30, None, "completed")
    (batch,) = sandbox.batches()
    assert batch["id"] == xcom(run, "create_and_wait") == xcom(run, "create_and_wait", "batch")["id"]
