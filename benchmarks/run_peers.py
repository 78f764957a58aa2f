"""Running a worker of the run's benchmarks: ours, or common.ai's in the peers' environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import imports
from benchmarks.processes import ROOT, environment, last_json
from benchmarks.report import Row

PEER = "airflow.providers.common.ai.operators.llm_batch"
PROGRAM = ROOT / "benchmarks" / "run_common_ai.py"


def ours(name: str, folder: Path, /, **arguments: Any) -> Any:
    """
    Run a function of ``benchmarks.run_workers`` in a fresh process.

    :param name: The function.
    :param folder: The benchmark's temporary folder.
    :param arguments: Its arguments.
    """
    text = json.dumps({**arguments, "temp": str(folder)})
    return last_json([sys.executable, "-m", "benchmarks.run_workers", name, text], environment(folder))


def common_ai(name: str, folder: Path, /, **arguments: Any) -> dict[str, Any] | str:
    """
    Run a function of ``run_common_ai`` in the peers' environment; or say why not.

    :param name: The function.
    :param folder: The benchmark's temporary folder.
    :param arguments: Its arguments.
    """
    found, missing = imports._peers()  # noqa: SLF001
    if PEER not in found:
        return missing[PEER]
    python = str(imports._python_of_peers())  # noqa: SLF001
    command = [python, "-W", "ignore", str(PROGRAM), name, json.dumps(arguments)]
    measured: dict[str, Any] = last_json(command, environment(folder))
    return measured


def micros(seconds: float, count: int) -> str:
    return f"{seconds / count * 1e6:.2f} µs"


def skipped(what: str, reason: str) -> Row:
    return Row(what, "", f"SKIPPED: {reason}")
