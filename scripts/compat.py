"""``make compat``: the main job on every supported Airflow, each in an environment of its own (``.cache/compat``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "compat"
# Version and the day after its release: dependencies are taken as they were then, because newer ones break some of
# these versions (3.0 and 3.2 do not start with the packages of today).
VERSIONS = {
    "2.11.2": "2026-03-16",
    "3.0.6": "2025-08-31",
    "3.1.8": "2026-03-13",
    "3.2.2": "2026-05-31",
    "3.3.2": "2026-09-19",
}
REQUESTS = 50
CONSOLE = "https://console.example/{batch_id}"


def main() -> int:
    """Run all versions, or those named on the command line; print one line for each."""
    wanted = sys.argv[1:] or list(VERSIONS)
    results = {version: run(version) for version in wanted}
    for version, problem in results.items():
        print(f"Airflow {version}: {problem or 'works'}")
    return 1 if any(results.values()) else 0


def run(version: str) -> str | None:
    """
    Run the job on one version.

    :param version: Airflow version.
    :returns: What went wrong, or None.
    """
    print(f"Airflow {version}: installing", flush=True)
    python = environment(version)
    with tempfile.TemporaryDirectory(prefix=f"compat-{version}-") as folder:
        home = Path(folder)
        write_requests(home / "requests.jsonl")
        sandbox_module = "airflow_batch_provider.sandbox"
        command = [sys.executable, "-m", sandbox_module, "--port", "0", "--time-scale", "5", "--quiet"]
        sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            ready = sandbox.stdout.readline() if sandbox.stdout else ""
            url = ready.removeprefix("Sandbox on ").split(" ")[0]
            return job(python, home, url) or examples(python, home, version)
        finally:
            sandbox.terminate()
            sandbox.wait(10)


def environment(version: str) -> Path:
    """
    Make the virtual environment of a version, once.

    :param version: Airflow version.
    :returns: Its Python.
    """
    folder = CACHE / version
    python = folder / "bin" / "python"
    pins = folder / "pins.txt"
    if not pins.exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--quiet", "--python", sys.executable, str(folder))
        as_of = ["--exclude-newer", VERSIONS[version]]
        uv("pip", "install", "--quiet", "--python", str(python), *as_of, f"apache-airflow=={version}")
        frozen = uv("pip", "freeze", "--python", str(python))
        # Providers are released on their own and may be newer than the core they run on.
        kept = [line for line in frozen.splitlines() if not line.startswith("apache-airflow-providers")]
        pins.write_text("\n".join(kept) + "\n")
    uv("pip", "install", "--quiet", "--python", str(python), "--constraint", str(pins), "--editable", str(ROOT))
    return python


def job(python: Path, home: Path, url: str) -> str | None:
    """
    Run the DAG with ``airflow dags test`` and look at its results.

    :param python: The version's Python.
    :param home: Folder with the requests, also ``AIRFLOW_HOME``.
    :param url: The service.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "tests" / "compat"),
        "AIRFLOW_CONN_BATCH_DEFAULT": json.dumps(
            {"conn_type": "batch", "host": url, "password": "sk-compat-1", "extra": {"console_url": CONSOLE}}
        ),
        "COMPAT_FOLDER": str(home),
    }
    airflow = str(python.parent / "airflow")
    log = home / "log.txt"
    with log.open("w") as out:
        for arguments in (["db", "migrate"], ["dags", "test", "compat", "2026-01-01"]):
            command = [airflow, *arguments]
            if subprocess.run(command, env=variables, stdout=out, stderr=out, check=False, timeout=300).returncode:
                return f"airflow {arguments[0]} failed\n" + "\n".join(log.read_text().splitlines()[-40:])
    results = [*home.glob("*_output.jsonl"), *home.glob("run/results.jsonl")]
    rows = [len(path.read_text().splitlines()) for path in results]
    return None if rows == [REQUESTS, REQUESTS] else f"{rows} rows\n" + "\n".join(log.read_text().splitlines()[-60:])


def examples(python: Path, home: Path, version: str) -> str | None:
    """
    Load each example DAG, on Airflow 2 with the one change that README names.

    :param python: The version's Python.
    :param home: A folder with an Airflow home.
    :param version: Airflow version.
    """
    variables = os.environ | {"AIRFLOW_HOME": str(home / "airflow")}
    for example in sorted((ROOT / "example_dags").glob("*.py")):
        text = example.read_text()
        if version.startswith("2."):
            text = text.replace("from airflow.sdk import", "from airflow.decorators import")
        copy = home / example.name
        copy.write_text(text)
        done = subprocess.run([python, copy], env=variables, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            return f"{example.name} does not load\n{done.stderr[-2000:]}"
    return None


def write_requests(path: Path) -> None:
    """
    Write a small input file.

    :param path: Where.
    """
    body = {"model": "sandbox-echo", "messages": [{"role": "user", "content": "Hello"}]}
    with path.open("w") as file:
        for number in range(REQUESTS):
            request = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(request) + "\n")


def uv(*arguments: str) -> str:
    """
    Run uv; it is installed beside this script's Python when the machine has none.

    :param arguments: Its arguments.
    """
    found = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    if not Path(found).exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    done = subprocess.run([found, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
