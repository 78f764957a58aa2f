"""A whole Airflow on this machine: ``airflow standalone`` on free ports, spoken to over its REST API."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from tests.servers.process import Process, free_port, running

BIN = Path(sys.executable).parent
FINAL = {"success", "failed", "upstream_failed", "skipped"}


@dataclass(frozen=True)
class Airflow:
    """
    A running Airflow.

    :param url: Its address.
    :param home: Its ``AIRFLOW_HOME``.
    """

    url: str
    home: Path

    def call(self, method: str, path: str, body: Any = None, *, ok: tuple[int, ...] = (200, 201)) -> Any:
        """
        Call the REST API.

        :param method: HTTP method.
        :param path: Path below ``/api/v2``.
        :param body: JSON body.
        :param ok: Statuses to accept.
        """
        answer = httpx.request(method, f"{self.url}/api/v2{path}", json=body, timeout=30, trust_env=False)
        if answer.status_code not in ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """
        Start a DAG run.

        :param dag_id: The DAG; waits until it is known and unpauses it.
        :param conf: Parameters.
        :returns: The run's id.
        """
        wait_until(lambda: self.call("GET", f"/dags/{dag_id}", ok=(200, 404)).get("dag_id"), f"{dag_id} is known")
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        body = {"dag_run_id": f"live_{uuid4().hex}", "logical_date": None, "conf": dict(conf)}

        def begun() -> bool:
            # SQLite, which a standalone Airflow has, may be locked by its other parts; a 409 says that it began all the same.
            said = self.call("POST", f"/dags/{dag_id}/dagRuns", body, ok=(200, 201, 409, 500))
            return "Database error" not in json.dumps(said)

        wait_until(begun, f"a run of {dag_id} begins")
        return str(body["dag_run_id"])

    def health(self) -> dict[str, Any]:
        """Return what Airflow says about its parts; empty while it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5, trust_env=False)
        except httpx.TransportError:
            return {}
        return dict(answer.json()) if answer.is_success else {}

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """
        Ask about a task instance.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task; ``id/3`` is its mapped instance 3.
        """
        found: dict[str, Any] = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return found

    def wait_for_task(self, dag_id: str, run_id: str, task_id: str, states: set[str], seconds: float = 120) -> str:
        """
        Wait until a task instance is in one of some states.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param states: The states.
        :param seconds: At most this long.
        """

        def state() -> str | None:
            now = self.task(dag_id, run_id, task_id)["state"]
            return now if now in states else None

        return str(wait_until(state, f"{task_id} is one of {states}", seconds))

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 180) -> str:
        """
        Wait until a DAG run has ended.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param seconds: At most this long.
        """

        def state() -> str | None:
            now = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            return now if now in FINAL else None

        return str(wait_until(state, f"{dag_id} {run_id} has ended", seconds))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """
        Read an XCom.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param key: Its key.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """
        Read a task's log as text.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param attempt: Which try.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        return "\n".join(str(line.get("event", line)) for line in self.call("GET", path)["content"])


@contextmanager
def standalone(home: Path, dags: Path, **environment: str) -> Iterator[Airflow]:
    """
    Run ``airflow standalone`` for the length of the block.

    :param home: An empty folder.
    :param dags: DAG folder.
    :param environment: More variables: connections, settings.
    """
    port, worker_logs, trigger_logs = free_port(), free_port(), free_port()
    url = f"http://localhost:{port}"
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    } | environment
    airflow = Airflow(url, home)
    ready = partial(_is_healthy, airflow)
    with running([BIN / "airflow", "standalone"], ready=ready, name="airflow", env=settings) as process:
        try:
            yield airflow
        finally:
            _stop_all(process)


def wait_until(probe: Callable[[], Any], what: str, seconds: float = 60, pause: float = 0.5) -> Any:
    """
    Ask again and again until there is an answer.

    :param probe: Asked; anything true is the answer.
    :param what: What is waited for, for the error text.
    :param seconds: At most this long.
    :param pause: Seconds between questions.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(pause)
    raise AssertionError(f"Not within {seconds:g} s: {what}.")


def connection(url: str, **extra: Any) -> str:
    """
    Build a connection as JSON.

    :param url: Base URL.
    :param extra: Extra fields.
    """
    return json.dumps({"conn_type": "batch", "host": url, "password": "sk-live-key-1234", "extra": extra})


def _is_healthy(airflow: Airflow) -> bool:
    health = airflow.health()
    parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    return all((health.get(part) or {}).get("status") == "healthy" for part in parts)


def _stop_all(process: Process) -> None:
    """Standalone ends its parts on Ctrl-C; what is left of its children after that is ended by pid."""
    children = psutil.Process(process.pid).children(recursive=True) if process.is_alive() else []
    if process.is_alive():
        process.popen.send_signal(signal.SIGINT)
        try:
            process.popen.wait(20)
        except Exception:  # noqa: BLE001 - it is ended below in any case
            process.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    for child in alive:
        child.kill()
