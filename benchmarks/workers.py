"""What runs in a fresh process and measures itself: ``python -m benchmarks.workers NAME JSON`` prints JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.intake import check_file, upload_checked
from airflow_batch_provider.storage.paths import as_path, open_input
from airflow_batch_provider.storage.whole_files import WholeFile

STATUS = Path("/proc/self/status")


class Line(msgspec.Struct):
    """The fields that every check has to look at."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


def upload(url: str, path: str) -> dict[str, Any]:
    """Send a file as it is."""
    source = Path(path)
    with BatchClient(_settings(url)) as client:
        measured = _measured(
            lambda: client.upload_file(Upload(lambda: source.open("rb"), source.stat().st_size, source.name))
        )
    return {**measured, "id": measured["result"].id, "result": None}


def upload_as_the_operator(url: str, path: str) -> dict[str, Any]:
    """Check a file, then send what was checked. What Airflow does once per process is timed apart."""
    first_read = _measured(lambda: open_input(as_path(path)).read(1))
    with BatchClient(_settings(url)) as client:
        measured = _measured(
            lambda: upload_checked(client, check_file(path, client.settings.limits, None), Path(path).name)
        )
    first = {"first_read_seconds": first_read["seconds"], "first_read_bytes": first_read["grown_bytes"]}
    return {**measured, **first, "id": measured["result"].id, "result": None}


def download(url: str, file_id: str, path: str) -> dict[str, Any]:
    """Fetch a file into one that appears whole."""
    with BatchClient(_settings(url)) as client:
        measured = _measured(lambda: client.download_file(file_id, lambda: WholeFile(as_path(path))))
    return {**measured, "result": None}


def download_as_the_operator(url: str, file_id: str, into: str) -> dict[str, Any]:
    """Fetch a batch's results, checking every row."""
    batch = Batch(id="results", status=BatchStatus.COMPLETED, output_file_id=file_id)
    with BatchClient(_settings(url)) as client:
        measured = _measured(lambda: collect_results(client, batch, into))
    return {**measured, "path": measured["result"]["output"]["path"], "result": None}


def check(path: str, repetitions: int) -> dict[str, Any]:
    """Check a file as the operator does, and beside it decode the same fields in a bare loop."""
    decode = msgspec.json.Decoder(Line).decode

    def bare_loop() -> None:
        with Path(path).open("rb") as file, Path("/dev/null").open("wb") as copy:
            for line in file:
                decode(line)
                copy.write(line)

    limits = BatchLimits()
    ways: dict[str, Callable[[], object]] = {"ours": lambda: check_file(path, limits, None), "bare": bare_loop}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repetitions + 1):
        for name, way in ways.items():
            taken = _measured(way)["seconds"]
            if number:  # the first round warms up
                seconds[name].append(taken)
    return seconds


def _settings(url: str) -> ServiceSettings:
    return ServiceSettings(base_url=url, verify=False, max_retries=0)


def _measured(work: Callable[[], Any]) -> dict[str, Any]:
    gc.collect()
    before = _start_memory()
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "grown_bytes": None if before is None else _memory("VmHWM") - before,
        "result": result,
    }


def _start_memory() -> int | None:
    """Forget the highest memory so far, where the system can (Linux); return the present one."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _memory("VmRSS")


def _memory(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
