"""What a DAG file pays for importing the operators, beyond what Airflow itself costs."""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import ROOT, environment, last_json
from benchmarks.report import Bar, Row

MAX_EXTRA_MS = 50
OURS = "airflow_batch_provider.operators.batch"
PEERS = {
    "apache-airflow-providers-openai": "airflow.providers.openai.operators.openai",
    "apache-airflow-providers-common-ai": "airflow.providers.common.ai.operators.llm_batch",
}
PEER_VERSIONS = {"apache-airflow-providers-openai": "2.2.0", "apache-airflow-providers-common-ai": "1.0.0"}
PEERS_FOLDER = ROOT / ".cache" / "bench-peers"
INSTALL_SECONDS = 600

# What every DAG file imports comes first; the rest is the price of the operators. CPU time is what an import costs when
# the machine has nothing else to do; the clock would count what the neighbours do.
PROGRAM = """
import importlib, json, sys, time
began, began_cpu = time.perf_counter(), time.process_time()
from airflow.sdk import DAG, BaseOperator
between, between_cpu = time.perf_counter(), time.process_time()
importlib.import_module(sys.argv[1])
print(json.dumps({
    "airflow": (between_cpu - began_cpu) * 1000,
    "extra": (time.process_time() - between_cpu) * 1000,
    "extra_by_clock": (time.perf_counter() - between) * 1000,
    "client": sorted(name for name in sys.modules if name.startswith("airflow_batch_provider.client")),
}))
"""


def run(folder: Path, repetitions: int) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder.
    :param repetitions: How often each import is made, always in a fresh process.
    """
    programs = {OURS: sys.executable}
    peers, missing = _peers()
    programs |= dict.fromkeys(peers, str(_python_of_peers()))
    env = environment(folder)
    runs: dict[str, list[dict[str, float]]] = {module: [] for module in programs}
    loaded: set[str] = set()
    for number in range(max(repetitions, 7) + 1):
        for module, python in programs.items():
            measured = last_json((python, "-c", PROGRAM, module), env)
            loaded.update(measured["client"])
            if number:  # the first round compiles and fills the disk cache
                runs[module].append(measured)
    rows = [_row(module, measured) for module, measured in runs.items()]
    text = ", ".join(sorted(loaded)) or "none"
    rows.append(Row("our client modules loaded by it", text, "", None, (Bar(len(loaded), 0, at_least=False),)))
    rows += [Row(f"import {module}", "", f"SKIPPED: {reason}") for module, reason in missing.items()]
    return rows


def _row(module: str, runs: list[dict[str, float]]) -> Row:
    extra = statistics.median(run["extra"] for run in runs)
    clock = statistics.median(run["extra_by_clock"] for run in runs)
    airflow = statistics.median(run["airflow"] for run in runs)
    bars = (Bar(extra, MAX_EXTRA_MS, at_least=False, unit=" ms"),) if module == OURS else ()
    ratio = statistics.median(run["airflow"] / (run["airflow"] + run["extra"]) for run in runs)
    return Row(
        f"import {module}",
        f"+{extra:.0f} ms CPU (+{clock:.0f} ms by the clock)",
        f"airflow.sdk {airflow:,.0f} ms CPU",
        ratio,
        bars,
    )


def _peers() -> tuple[list[str], dict[str, str]]:
    """Modules of the peers that can be imported, and why the others cannot; installed on first use."""
    python = _python_of_peers()
    if not python.exists():
        print(f"Installing peers into {PEERS_FOLDER.relative_to(ROOT)} ...", file=sys.stderr)
        try:
            _install()
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(PEERS_FOLDER, ignore_errors=True)
            return [], dict.fromkeys(PEERS.values(), f"the peers could not be installed ({type(error).__name__})")
    found, missing = [], {}
    for package, module in PEERS.items():
        done = subprocess.run((python, "-c", f"import {module}"), capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "import failed"
            missing[module] = f"{package}: {reason}"
        else:
            found.append(module)
    return found, missing


def _install() -> None:
    packages = [
        f"apache-airflow=={version('apache-airflow')}",
        *(f"{name}=={number}" for name, number in PEER_VERSIONS.items()),
    ]
    if importlib.util.find_spec("uv"):
        uv = (sys.executable, "-m", "uv")
        _run(*uv, "venv", "--quiet", "--python", sys.executable, str(PEERS_FOLDER))
        _run(*uv, "pip", "install", "--quiet", "--python", str(_python_of_peers()), *packages)
    else:
        _run(sys.executable, "-m", "venv", str(PEERS_FOLDER))
        _run(str(_python_of_peers()), "-m", "pip", "install", "--quiet", *packages)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=sys.stderr)


def _python_of_peers() -> Path:
    return PEERS_FOLDER / "bin" / "python"
