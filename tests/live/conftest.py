"""
What the tests of a deployment share: one deployment, one service and one wave of tasks for each module.

A module says what it wants in constants: ``EXECUTOR``, and for the wave ``CREATED``, ``INFERRED`` and ``SENSED``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.airflow import connection
from tests.live.deployment import Deployment, deployment
from tests.live.service import Service
from tests.live.wave import Wave
from tests.servers import require


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a service that can go away."""
    with Service(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture(scope="module")
def deployed(
    service: Service, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Give a deployment that knows the service and has our DAGs; its triggerers are not started yet."""
    dags = Path(__file__).resolve().parent / "dags"
    home = tmp_path_factory.mktemp("deployment")
    executor = getattr(request.module, "EXECUTOR", "LocalExecutor")
    conn = connection(service.url)
    with require(deployment(home, dags, executor=executor, AIRFLOW_CONN_BATCH_DEFAULT=conn)) as started:
        yield started


@pytest.fixture(scope="module")
def jobs(deployed: Deployment) -> dict[str, int]:
    """Give the job of each triggerer; tests that start one anew change it."""
    return {part.name: deployed.start_triggerer(part) for part in deployed.triggerers}


@pytest.fixture(scope="module")
def begun_wave(
    deployed: Deployment,
    service: Service,
    jobs: dict[str, int],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Wave:
    """Give the module's wave, begun."""
    module = request.module
    wave = Wave(deployed, service, tmp_path_factory.mktemp("wave"), module.CREATED, module.INFERRED, module.SENSED)
    wave.begin()
    return wave


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the deployment's parts said last when a test of it fails."""
    report = yield
    deployed: Any = getattr(item, "funcargs", {}).get("deployed")
    if report.failed and deployed is not None:
        report.sections.append(("Logs of the deployment", deployed.last_lines()))
    return report
