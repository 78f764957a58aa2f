"""``make demo``: the main example DAG through real Airflow, against a sandbox on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
BIN = Path(sys.executable).parent
DAG = "example_batch_inference"
# Lines of our own tasks; Airflow's around them are in the log file.
OURS = re.compile(
    r"^\S+ \[(info|warning|error)\s*\] (?P<text>.*?)\s+\[(airflow\.task\.operators\.)?airflow_batch_provider\."
)


def main() -> int:
    """Run everything, print where the results are and the first rows."""
    OUTPUT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "airflow_batch_provider.sandbox", "--port", "0", "--time-scale", "3", "--quiet"]
    sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready = sandbox.stdout.readline().strip() if sandbox.stdout else ""
        print(ready, flush=True)
        url = ready.removeprefix("Sandbox on ").split(" ")[0]
        if run_dag(url) != 0:
            print(f"The DAG failed; the whole log is in {OUTPUT / 'airflow.log'}")
            return 1
    finally:
        sandbox.terminate()
        sandbox.wait(10)
    show_rows()
    return 0


def run_dag(url: str) -> int:
    """
    Run the example with ``airflow dags test`` and print our own log lines as they come.

    :param url: The sandbox.
    """
    home = ROOT / ".cache" / "demo-airflow"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW_CONN_BATCH_DEFAULT": json.dumps({"conn_type": "batch", "host": url, "password": "sk-demo-not-secret"}),
    }
    print(
        f"Running example_dags/example_inference.py through Airflow {version('apache-airflow')} (about half a minute)"
    )
    with (OUTPUT / "airflow.log").open("w") as log:
        airflow = str(BIN / "airflow")
        subprocess.run([airflow, "db", "migrate"], env=environment, stdout=log, stderr=log, check=True)
        conf = json.dumps({"folder": str(OUTPUT)})
        command = [airflow, "dags", "test", DAG, "--conf", conf]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        for line in process.stdout or ():
            log.write(line)
            if match := OURS.match(line):
                print(f"  {match['text']}", flush=True)
        return process.wait()


def show_rows() -> None:
    """Print the first rows, each beside its request."""
    requests = (OUTPUT / "requests.jsonl").read_text().splitlines()
    results = max(OUTPUT.glob("*/results.jsonl"), key=lambda path: path.stat().st_mtime)
    print(f"\n{results.relative_to(ROOT)}:")
    for line, request in zip(results.read_text().splitlines()[:5], requests, strict=False):
        row, prompt = json.loads(line), json.loads(request)["body"]["messages"][-1]["content"]
        answer = row["response"]["choices"][0]["message"]["content"]
        quoted = f'"{prompt}"'
        print(f"  {row['custom_id']:<7}{quoted:<47} -> {answer}")
    print('\nNext: README, "Your own data": point the connection at your gateway or service.')


if __name__ == "__main__":
    sys.exit(main())
