"""What a whole Airflow stands on: a database of its own in PostgreSQL, a corner of its own in Redis, their drivers."""

from __future__ import annotations

import getpass
import importlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.availability import Unavailable
from tests.servers.cache import installed
from tests.servers.python_env import install_packages

PINS = Path(__file__).parent / "pins" / "requirements.txt"
POSTGRES = ("127.0.0.1", 5432)
REDIS_URL = os.environ.get("BATCH_TEST_REDIS", "redis://127.0.0.1:6379/0")


def drivers() -> Path:
    """
    Return a folder for ``PYTHONPATH`` with the drivers and the Celery executor, installed on first use.

    :raises Unavailable: they cannot be installed.
    """
    python = Path(sys.executable)
    requirements = ["--no-deps", "--requirement", os.fspath(PINS)]

    def install(target: Path) -> None:
        install_packages("Airflow's drivers", python, target, requirements)

    return installed("airflow-drivers", [PINS.read_bytes(), sys.version.encode()], install)


@contextmanager
def postgres_database() -> Iterator[str]:
    """
    Make an empty database, and drop it at the end.

    :returns: ``user@host:port/name``, for addresses of any driver.
    :raises Unavailable: there is no PostgreSQL on this machine that lets us in without a password.
    """
    user, admin = _admin()
    name = f"batch_live_{uuid.uuid4().hex[:12]}"
    try:
        _run(admin, f'CREATE DATABASE "{name}"')
        try:
            yield f"{user}@{POSTGRES[0]}:{POSTGRES[1]}/{name}"
        finally:
            _run(admin, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        admin.close()


@contextmanager
def redis_corner() -> Iterator[tuple[str, str]]:
    """
    Give a prefix for keys in Redis, and remove what has it at the end.

    :returns: The address and the prefix.
    :raises Unavailable: there is no Redis.
    """
    redis = _driver("redis")
    prefix = f"batch-live-{uuid.uuid4().hex[:12]}:"
    client = redis.Redis.from_url(REDIS_URL, socket_timeout=5)
    try:
        client.ping()
    except redis.RedisError as error:
        raise Unavailable("Redis", f"nothing usable at {REDIS_URL}: {error}") from error
    try:
        yield REDIS_URL, prefix
    finally:
        for key in list(client.scan_iter(match=f"{prefix}*", count=1000)):
            client.delete(key)
        client.close()


def _admin() -> tuple[str, Any]:
    psycopg2 = _driver("psycopg2")
    told = ""
    for user in ("postgres", getpass.getuser()):
        try:
            admin = psycopg2.connect(
                host=POSTGRES[0], port=POSTGRES[1], user=user, dbname="postgres", connect_timeout=5
            )
        except psycopg2.OperationalError as error:
            told = str(error).strip()
            continue
        admin.autocommit = True  # CREATE DATABASE wants no transaction around it
        return user, admin
    raise Unavailable("PostgreSQL", f"nobody may enter 127.0.0.1:5432 without a password: {told}")


def _run(admin: Any, statement: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute(statement)


def _driver(name: str) -> Any:
    folder = os.fspath(drivers())
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    return importlib.import_module(name)
