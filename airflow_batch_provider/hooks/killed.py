"""
Was this task really killed?

Airflow 3.3 calls ``on_kill`` also when nobody killed anything: after a triggerer's pause another one took over, or a
task was cleared and its new try waits for the same batch. Cancelling then destroys paid work. So the state in the
database is asked, and only a task that was marked failed counts as killed. A DAG run's timeout marks its tasks skipped:
their batches go on, and a clear takes them over. These calls are internal to Airflow: they stay in this module, and when
they fail the answer is "not known", which cancels nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_batch_provider.exceptions import ApiError
from airflow_batch_provider.hooks.batch import open_hook

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
# When a whole DAG run is marked failed, or a triggerer comes back from a pause, hundreds ask at once and the supervisor
# answers one after the other: 150 took 13 s. An answer that is not awaited leaves a killed task's batch running.
ASK_ASYNC_SECONDS = 300.0


async def is_killed_async(task_instance: Any) -> bool:
    """
    Ask from a triggerer.

    :param task_instance: The trigger's ``task_instance``; None where Airflow gives none (``dag.test()``).
    """
    if task_instance is None:
        return False
    try:
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import GetTaskStates

        question = GetTaskStates(**_which(task_instance))
        answer = await asyncio.wait_for(task_runner.SUPERVISOR_COMMS.asend(question), ASK_ASYNC_SECONDS)
        return _is_failed(task_instance, answer.task_states)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with an internal call, the answer is "not known"
        log.warning("Could not ask whether the task was killed (%s); nothing is cancelled.", type(error).__name__)
        return False


def is_killed(task_instance: Any) -> bool:
    """
    Ask from a worker, inside its signal handler: in a thread, because the handler may have interrupted a call that
    holds the connection to the supervisor.

    :param task_instance: The context's ``ti``.
    """
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(_ask(task_instance)), daemon=True)
    thread.start()
    thread.join(ASK_SECONDS)
    return bool(answers and answers[0])


def cancel_if_killed(conn_id: str, task_instance: Any, batch_ids: Iterable[str]) -> None:
    """
    Cancel the batches of a worker's task if the task was really killed.

    :param conn_id: Connection of type ``batch``.
    :param task_instance: The context's ``ti``.
    :param batch_ids: The batches the task waits for.
    """
    if not is_killed(task_instance):
        return
    with open_hook(conn_id) as hook:
        for batch_id in batch_ids:
            try:
                status = hook.cancel_batch(batch_id).status.value
                log.warning("The task was marked failed: batch %s is now %s.", batch_id, status)
            except ApiError as error:
                log.warning("The task was marked failed, but batch %s could not be cancelled: %s", batch_id, error)


def _ask(task_instance: Any) -> bool:
    try:
        if hasattr(task_instance, "get_task_states"):
            return _is_failed(task_instance, task_instance.get_task_states(**_which(task_instance)))
        return str(task_instance.current_state()) == "failed"  # Airflow 2
    except BaseException as error:  # noqa: BLE001 - see is_killed_async; Airflow's DeadlockImminentError is no Exception
        log.warning("Could not ask whether the task was killed (%s); nothing is cancelled.", type(error).__name__)
        return False


def _which(task_instance: Any) -> dict[str, Any]:
    return {
        "dag_id": task_instance.dag_id,
        "task_ids": [task_instance.task_id],
        "run_ids": [task_instance.run_id],
        "map_index": task_instance.map_index,
    }


def _is_failed(task_instance: Any, states: Mapping[str, Any]) -> bool:
    mapped = task_instance.map_index is not None and task_instance.map_index >= 0
    key = f"{task_instance.task_id}_{task_instance.map_index}" if mapped else task_instance.task_id
    state = states.get(task_instance.run_id, {}).get(key)
    return str(getattr(state, "value", state)) == "failed"
