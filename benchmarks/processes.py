"""Fresh processes: workers that measure themselves, and servers that live as long as a block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 10


def environment(folder: Path) -> dict[str, str]:
    """
    Variables of every process: Airflow keeps its files in the benchmark's folder, proxies stay out of the way, and what
    was compiled once is kept, as pip does it for whoever installs a package.

    :param folder: The benchmark's temporary folder.
    """
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONWARNINGS": "ignore"}


def measure(name: str, folder: Path, **arguments: Any) -> dict[str, Any]:
    """
    Run one function of ``benchmarks.workers`` in a fresh process; return what it measured.

    :param name: The function.
    :param folder: The benchmark's temporary folder.
    :param arguments: Its arguments, as JSON.
    """
    command = [sys.executable, "-m", "benchmarks.workers", name, json.dumps(arguments)]
    answer: dict[str, Any] = last_json(command, environment(folder))
    return answer


def last_json(command: Sequence[str], env: Mapping[str, str]) -> Any:
    """
    Run a command whose last line of output is JSON.

    :param command: The command.
    :param env: Its environment.
    """
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def server(module: str, *arguments: str, folder: Path) -> Iterator[str]:
    """
    A server in its own process; gives its base URL.

    :param module: Module to run; its first line of output holds the URL.
    :param arguments: Its command line.
    :param folder: The benchmark's temporary folder.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, env=environment(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            url = next((word for word in line.split() if word.startswith("http")), None)
            if url is None:
                raise RuntimeError(f"{module} did not start: {line!r}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
