"""What all tests share. Airflow reads its environment when it is imported, so that is set here, first."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

_HOME = tempfile.mkdtemp(prefix="airflow-batch-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

for name in [name for name in os.environ if name.startswith(("AIRFLOW", "OPENAI"))]:
    del os.environ[name]  # a developer's own Airflow or key must not leak into the tests
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__CORE__DAGS_FOLDER=os.path.join(_HOME, "dags"),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="INFO",
)

import pytest  # noqa: E402

from airflow_batch_provider.sandbox import SandboxServer  # noqa: E402


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """Give a fresh local server whose batches take well under a second."""
    with SandboxServer(port=0, time_scale=50, seed=1) as server:
        yield server


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Give an empty Airflow metadata database; made on first use, gone with the session."""
    from airflow.utils.db import initdb

    initdb()
