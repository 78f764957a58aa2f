"""Run DAGs through real Airflow, in this process: ``dag.test()`` with connections from the environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "example_dags"


def connection(host: str, *, password: str = "sk-test-key-1234", **extra: Any) -> str:
    """
    Build a connection as JSON.

    :param host: Base URL.
    :param password: API key.
    :param extra: Extra fields.
    """
    return json.dumps({"conn_type": "batch", "host": host, "password": password, "extra": extra})


def run_example(name: str, monkeypatch: pytest.MonkeyPatch, *, conf: dict[str, Any], **connections: str) -> Any:
    """
    Run an example DAG and return its DAG run.

    :param name: DAG id; the file has the same name without ``_batch``.
    :param monkeypatch: Sets the connections for the time of the test.
    :param conf: DAG parameters.
    :param connections: Connections as JSON, by id.
    """
    for conn_id, text in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)
    return load(name).test(run_conf=conf)


def load(name: str) -> Any:
    """
    Load an example DAG and make it known to the database, as a DAG processor would.

    :param name: DAG id.
    """
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(dag_folder=str(EXAMPLES / f"{name.replace('_batch', '')}.py"), bundle_name="testing")
    if bag.import_errors:
        raise AssertionError(bag.import_errors)
    _add_bundle("testing")
    sync_bag_to_db(bag, "testing", None)
    return bag.dags[name]


def xcom(run: Any, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
    """
    Return what a task pushed.

    :param run: The DAG run.
    :param task_id: The task.
    :param key: XCom key.
    :param map_index: Index of a mapped task.
    """
    from airflow.models.xcom import XComModel

    row = XComModel.get_many(run_id=run.run_id, key=key, task_ids=task_id, dag_ids=run.dag_id, map_indexes=map_index)
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.scalars(row).first()
        return None if found is None else XComModel.deserialize_value(found)


def states(run: Any) -> dict[str, str]:
    """
    Return the states of a run's tasks.

    :param run: The DAG run.
    """
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def _add_bundle(name: str) -> None:
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        if session.get(DagBundleModel, name) is None:
            session.add(DagBundleModel(name=name))
