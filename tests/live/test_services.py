"""The same DAG, unchanged, against four services: only the connection differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from airflow_batch_provider.sandbox import SandboxServer
from tests.dags import connection, run_example, states, xcom
from tests.servers import require
from tests.servers.aimock import aimock_server
from tests.servers.model_stub import model_stub
from tests.servers.ogx import ogx_server
from tests.servers.portkey import portkey_gateway

pytestmark = pytest.mark.usefixtures("airflow_db")


@contextmanager
def service(name: str) -> Iterator[str]:
    """
    Start a service and give the connection to it.

    :param name: Which one.
    """
    with ExitStack() as stack:
        if name == "ogx":
            model = stack.enter_context(model_stub())
            yield connection(stack.enter_context(require(ogx_server(model))).url)
        elif name == "aimock":
            yield connection(stack.enter_context(require(aimock_server())).url)
        else:
            sandbox = stack.enter_context(SandboxServer(port=0, time_scale=20, seed=1))
            if name == "sandbox":
                yield connection(sandbox.url)
            else:
                gateway = stack.enter_context(require(portkey_gateway()))
                yield connection(gateway.url, provider="openai", custom_host=sandbox.url)


@pytest.mark.parametrize("name", ["sandbox", "gateway", "ogx", "aimock"])
def test_same_dag_on_every_service(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request comes back as one row, whoever serves the batch, and no file stays behind."""
    # OGX knows its model under this name; to the others every name is a model.
    conf = {"folder": str(tmp_path), "requests": 100, "model": "stub/echo"}

    with service(name) as conn:
        run = run_example("example_batch_bricks", monkeypatch, conf=conf, batch_default=conn)

    assert set(states(run).values()) == {"success"}, states(run)
    pulled = xcom(run, "pull")
    rows = [json.loads(line) for line in Path(pulled["output"]["path"]).read_text().splitlines()]
    assert (pulled["status"], pulled["errors"]) == ("completed", None)
    assert len(rows) == pulled["output"]["rows"] == 100
    assert {row["custom_id"] for row in rows} == {f"row-{n}" for n in range(1, 101)}
    assert len(xcom(run, "tidy")) >= 2
