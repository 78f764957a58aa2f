"""
A small progress value of a deferred task, as the XCom ``batch_progress``, where UI and REST show it.

Airflow has no interface for progress. The calls here are internal to it, so they stay in this module; when they fail,
nothing is shown and nothing else happens. A task's lines of progress are in its log in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

XCOM_KEY = "batch_progress"
ANSWER_SECONDS = 10.0


async def publish_progress(task_instance: Any, progress: Mapping[str, Any]) -> bool:
    """
    Show how far a deferred task is.

    :param task_instance: The trigger's ``task_instance``.
    :param progress: Plain JSON, a few hundred bytes; see :func:`~airflow_batch_provider.core.progress.progress_value`.
    :returns: False when it cannot be shown (Airflow before 3), so that nobody tries again.
    """
    try:
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import SetXCom

        message = SetXCom(
            key=XCOM_KEY,
            value=dict(progress),
            dag_id=task_instance.dag_id,
            run_id=task_instance.run_id,
            task_id=task_instance.task_id,
            map_index=task_instance.map_index,
        )
        await asyncio.wait_for(task_runner.SUPERVISOR_COMMS.asend(message), timeout=ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with an internal call, waiting goes on
        log.debug("The progress of a task cannot be shown (%s).", type(error).__name__)
        return False
    return True
