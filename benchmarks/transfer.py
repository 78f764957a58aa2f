"""Moving a 200 MB file to and from a service: our client against curl."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.certificate import write_certificate
from benchmarks.data import write_requests
from benchmarks.processes import environment, measure, server
from benchmarks.report import Bar, Row, SkippedError, median_seconds, median_speed, speed_ratio

LINES = 50_000
LINE_BYTES = 4_000
MIN_RATIO = 0.8
MAX_GROWTH_MB = 32


@dataclass
class Runs:
    """One way, its runs so far."""

    seconds: list[float] = field(default_factory=list)
    grown: list[float] = field(default_factory=list)
    first_reads: list[float] = field(default_factory=list)
    first_grown: list[float] = field(default_factory=list)

    def add(self, measured: dict[str, Any]) -> None:
        self.seconds.append(measured["seconds"])
        if "first_read_seconds" in measured:
            self.first_reads.append(measured["first_read_seconds"])
            self.first_grown.append((measured["first_read_bytes"] or 0) / 1e6)
        if measured.get("grown_bytes") is not None:
            self.grown.append(measured["grown_bytes"] / 1e6)


def run(folder: Path, repetitions: int) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder, on the disk that is meant.
    :param repetitions: How often each way is run.
    :raises SkippedError: There is no curl.
    """
    if not shutil.which("curl"):
        raise SkippedError("curl is not installed (Debian: apt-get install curl)")
    source = folder / "requests.jsonl"
    size = write_requests(source, lines=LINES, line_bytes=LINE_BYTES)
    sandbox = ("airflow_batch_provider.sandbox", "--port", "0", "--quiet", "--dir", str(folder / "sandbox"))
    pem = write_certificate(folder / "server.pem")
    static = "benchmarks.static_server"
    with server(*sandbox, folder=folder) as url:
        ups = _uploads(url, source, folder, repetitions)
        file_id = _curl_upload(url, source, folder)["id"]
        downs = _downloads(url, file_id, source, folder, repetitions, with_operator=True)
    rows = [
        *_rows("upload", ups, size, has_bar=True),
        Row(
            "before the operator's upload, once per process: first read through ObjectStoragePath",
            f"{median_seconds(ups['operator'].first_reads)}, {max(ups['operator'].first_grown):.0f} MB",
            "Airflow's own",
        ),
        *_rows("download", downs, size, has_bar=True),
    ]
    for title, options in (
        ("download, bare server", ()),
        ("download, bare server, no length (as through a gateway)", ("--chunked",)),
        ("download, bare server, TLS", ("--tls", str(pem))),
    ):
        with server(static, str(source), *options, folder=folder) as url:
            rows += _rows(title, _downloads(url, "any", source, folder, repetitions), size)
    return rows


def _uploads(url: str, source: Path, folder: Path, repetitions: int) -> dict[str, Runs]:
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "curl": lambda: _curl_upload(url, source, folder),
        "client": lambda: measure("upload", folder, url=url, path=str(source)),
        "operator": lambda: measure("upload_as_the_operator", folder, url=url, path=str(source)),
    }

    def finish(measured: dict[str, Any]) -> None:
        file_id = measured["id"]
        with urllib.request.urlopen(f"{url}/files/{file_id}") as answer:
            arrived = json.load(answer)["bytes"]
        if arrived != source.stat().st_size:
            raise RuntimeError(f"An upload arrived with {arrived} bytes.")
        urllib.request.urlopen(urllib.request.Request(f"{url}/files/{file_id}", method="DELETE")).close()

    return _alternate(ways, finish, repetitions)


def _downloads(
    url: str, file_id: str, source: Path, folder: Path, repetitions: int, *, with_operator: bool = False
) -> dict[str, Runs]:
    target = folder / "downloaded.jsonl"
    asked = {"url": url, "file_id": file_id}
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "curl": lambda: _curl(f"{url}/files/{file_id}/content", "--output", str(target), folder=folder),
        "client": lambda: measure("download", folder, **asked, path=str(target)),
    }
    if with_operator:
        ways["operator"] = lambda: measure("download_as_the_operator", folder, **asked, into=str(folder))

    def finish(measured: dict[str, Any]) -> None:
        arrived = Path(measured.get("path", target))
        if not filecmp.cmp(source, arrived, shallow=False):
            raise RuntimeError("A download is not the file that was sent.")
        arrived.unlink()

    return _alternate(ways, finish, repetitions)


def _alternate(
    ways: dict[str, Callable[[], dict[str, Any]]], finish: Callable[[dict[str, Any]], None], repetitions: int
) -> dict[str, Runs]:
    runs = {name: Runs() for name in ways}
    order = list(ways)
    os.sync()  # what was written before is not paid for by whoever comes first
    for number in range(repetitions):
        for name in order if number % 2 == 0 else reversed(order):
            measured = ways[name]()
            runs[name].add(measured)
            finish(measured)
    return runs


def _curl_upload(url: str, source: Path, folder: Path) -> dict[str, Any]:
    # Without the header Expect, which costs curl a round trip.
    form = ("--header", "Expect:", "--form", "purpose=batch", "--form", f"file=@{source};type=application/jsonl")
    answer = folder / "answer.json"
    measured = _curl(f"{url}/files", *form, "--output", str(answer), folder=folder)
    return {**measured, "id": json.loads(answer.read_text())["id"]}


def _curl(url: str, *options: str, folder: Path) -> dict[str, Any]:
    command = (
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--insecure",
        "--write-out",
        "%{time_total}",
        *options,
        url,
    )
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"curl failed with {done.returncode}: {done.stderr}")
    return {"seconds": float(done.stdout)}


def _rows(title: str, runs: dict[str, Runs], size: int, *, has_bar: bool = False) -> list[Row]:
    names = {"client": title, "operator": f"{title} as the operator does it, with all checks"}
    peer = runs["curl"].seconds
    rows = []
    for name, what in names.items():
        if name not in runs:
            continue
        ratio = speed_ratio(runs[name].seconds, peer)
        bars = (Bar(ratio, MIN_RATIO),) if has_bar and name == "client" else ()
        figures = median_speed(runs[name].seconds, size), f"curl {median_speed(peer, size)}"
        rows.append(Row(what, *figures, ratio, bars))
    if has_bar:
        grown = [number for name in names if name in runs for number in runs[name].grown]
        bars = (Bar(max(grown), MAX_GROWTH_MB, at_least=False, unit=" MB"),) if grown else ()
        figure = f"{max(grown):.1f} MB" if grown else "not measured (no /proc)"
        rows.append(Row(f"{title}: memory growth, the highest of all runs", figure, "file of 200 MB", None, bars))
    return rows
