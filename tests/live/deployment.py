"""A whole Airflow in parts: PostgreSQL, API server, scheduler, DAG processor, two triggerers, workers; each can be harmed."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.airflow import BIN, Airflow, wait_until
from tests.live.backing import drivers, postgres_database, redis_corner
from tests.live.parts import Part, stop_all
from tests.servers.process import free_port

TRIGGERERS = ("triggerer-1", "triggerer-2")
# The machine has two cores; more tasks at a time only make all of them late.
WORKERS = 6
START_SECONDS = 150


@dataclass(frozen=True)
class Deployment(Airflow):
    """
    A running deployment.

    :param parts: Its components by name.
    """

    parts: dict[str, Part]

    @property
    def triggerers(self) -> list[Part]:
        """The two triggerers."""
        return [self.parts[name] for name in TRIGGERERS]

    def start_triggerer(self, part: Part) -> int:
        """
        Start a triggerer.

        :param part: Which one.
        :returns: Its job's id: what Airflow calls it in the triggers it has.
        """
        known = self.triggerer_jobs()
        part.start()
        (fresh,) = wait_until(lambda: self.triggerer_jobs() - known, f"{part.name} runs", START_SECONDS)
        return int(fresh)

    def triggerer_jobs(self) -> set[int]:
        """Return the ids of all triggerer jobs there ever were."""
        jobs = self.call("GET", "/jobs?job_type=TriggererJob&limit=1000")["jobs"]
        return {job["id"] for job in jobs}

    def last_lines(self) -> str:
        """Return the end of every part's log."""
        return "\n\n".join(f"--- {part.name}\n{part.last_lines()}" for part in self.parts.values())


@contextmanager
def deployment(home: Path, dags: Path, *, executor: str = "LocalExecutor", **environment: str) -> Iterator[Deployment]:
    """
    Run a deployment for the length of the block; what its parts said last is printed when the block fails.

    The triggerers are started by :meth:`Deployment.start_triggerer`, so that it is known who is who.

    :param home: An empty folder.
    :param dags: DAG folder.
    :param executor: ``LocalExecutor``, or ``CeleryExecutor`` for a worker over Redis.
    :param environment: More variables: connections, settings.
    :raises Unavailable: there is no PostgreSQL or no Redis here.
    """
    with ExitStack() as stack:
        database = stack.enter_context(postgres_database())
        env = _environment(home, dags, database) | {"AIRFLOW__CORE__EXECUTOR": executor}
        names = ["api-server", "scheduler", "dag-processor"]
        if executor == "CeleryExecutor":
            env |= _celery_environment(database, *stack.enter_context(redis_corner()))
            names.append("celery worker")
        env |= environment
        _migrate(env, home)
        parts = {name: _part(name, env, home) for name in (*names, *TRIGGERERS)}
        running = Deployment(env["AIRFLOW__API__BASE_URL"], home, parts)
        try:
            for name in names:
                parts[name].start()
            wait_until(lambda: _is_healthy(running, names), "the deployment is healthy", START_SECONDS)
            yield running
        except BaseException:
            print(running.last_lines())
            raise
        finally:
            stop_all(list(parts.values()))


def _environment(home: Path, dags: Path, database: str) -> dict[str, str]:
    port = free_port()
    url = f"http://localhost:{port}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{database}",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PARALLELISM": str(WORKERS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(drivers()), os.environ.get("PYTHONPATH", "")])),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }


def _celery_environment(database: str, redis_url: str, prefix: str) -> dict[str, str]:
    return {
        "AIRFLOW__CELERY__BROKER_URL": redis_url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(WORKERS),
        # Whatever else uses this Redis keeps its keys.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX": prefix,
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "batch-live",
    }


def _migrate(env: dict[str, str], home: Path) -> None:
    done = subprocess.run(
        [BIN / "airflow", "db", "migrate"],
        env=env,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"airflow db migrate: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _part(name: str, env: dict[str, str], home: Path) -> Part:
    command = name.split("-")[:1] if name in TRIGGERERS else name.split()
    own = {"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port())} if name in TRIGGERERS else {}
    return Part(name, [str(BIN / "airflow"), *command], env | own, home / f"{name.replace(' ', '-')}.log")


def _is_healthy(running: Deployment, names: list[str]) -> bool:
    for name in names:
        if not running.parts[name].is_alive():
            raise AssertionError(f"{name} ended.")
    health = running.health()
    return all((health.get(part) or {}).get("status") == "healthy" for part in ("scheduler", "dag_processor"))
