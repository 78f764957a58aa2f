"""A whole run in this process: how long each step takes, and the highest memory of each."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
LOOK_SECONDS = 0.2


def idle_bytes() -> int | None:
    """Import what a task's process has imported before ``execute``; return its resident size."""
    import airflow.sdk.execution_time.task_runner  # noqa: F401
    from airflow.sdk import DAG

    from airflow_batch_provider.operators.inference import BatchInferenceOperator

    with DAG("benchmark"):
        BatchInferenceOperator(task_id="label", input="in", output="out")
    return memory("VmRSS")


def memory(name: str, status: Path = STATUS) -> int | None:
    try:
        line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    except OSError:
        return None
    return int(line.split()[1]) * 1024


class Steps:
    """
    Seconds and highest memory of each step of a run, helpers included. Steps do not overlap.

    The peaks of helpers are added up as if all had been at the same moment. Pages of programs and libraries, which they
    share with the task's process, count once.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, int] = defaultdict(int)
        self._of_helpers = 0
        from airflow_batch_provider.joining.helper import Helper

        close = Helper.close

        def closed(helper: Helper) -> None:
            status = Path(f"/proc/{helper.pid}/status")
            self._of_helpers += (memory("VmHWM", status) or 0) - (memory("RssFile", status) or 0)
            close(helper)

        Helper.close = closed  # type: ignore[assignment]

    def watched(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """
        Have a function's calls counted as a step.

        :param name: The step.
        :param work: The function.
        """

        @wraps(work)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            _forget_peak()
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began
                self.peaks[name] = max(self.peaks[name], (memory("VmHWM") or 0) + self._of_helpers)
                self._of_helpers = 0

        return wrapper


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the highest size so far


def drive(client: Any, source: str, output: str) -> dict[str, Any]:
    """
    Do a run to its end, looking again every fifth of a second.

    :param client: The service.
    :param source: Input.
    :param output: Output folder.
    """
    from airflow_batch_provider import planning, runner, sending
    from airflow_batch_provider.core.identity import TaskIdentity
    from airflow_batch_provider.core.options import RunOptions
    from airflow_batch_provider.operators.inference import LANDINGS_AT_A_TIME

    steps = Steps()
    for module, name, step in (
        (planning, "plan_input", "plan"),
        (sending, "upload_shard", "upload"),
        (sending, "create_once", "create"),
        (runner.BatchRun, "_collect", "look and land"),
        (runner, "finish", "finish"),
    ):
        setattr(module, name, steps.watched(step, getattr(module, name)))
    options = RunOptions(
        input=source,
        output=output,
        limits=client.settings.limits,
        landings_at_a_time=LANDINGS_AT_A_TIME,
    )
    run = runner.BatchRun(client, options, owner=TaskIdentity("benchmark", "label", "run"), attempt="1")
    wait = steps.watched("wait", time.sleep)
    began, cpu = time.perf_counter(), time.process_time()
    while not isinstance(reached := run.advance(), runner.Finished):
        wait(LOOK_SECONDS)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "steps": dict(steps.seconds),
        "peaks": dict(steps.peaks),
        "summary": reached.summary,
    }
