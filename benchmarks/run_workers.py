"""What the benchmarks of a run do in fresh processes: ``python -m benchmarks.run_workers NAME JSON`` prints JSON."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from airflow_batch_provider.assembly import write_results
from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.joining.joiners import Joiners
from airflow_batch_provider.landing import Landed, Landings, land
from airflow_batch_provider.operators.inference import LANDINGS_AT_A_TIME
from airflow_batch_provider.planning import plan_input
from airflow_batch_provider.storage.landed import landed_files
from airflow_batch_provider.storage.shards import RunFolder
from airflow_batch_provider.storage.sources import find_files
from benchmarks.run_sampling import drive, idle_bytes

BUFFER = 1 << 20


class RequestBody(msgspec.Struct):
    model: str


class Request(msgspec.Struct):
    """The fields of a request that planning looks at."""

    custom_id: str
    method: str
    url: str
    body: RequestBody


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class AnswerBody(msgspec.Struct):
    model: str
    usage: Usage


class Response(msgspec.Struct):
    status_code: int
    body: AnswerBody


class Result(msgspec.Struct):
    """The fields of a result line that landing looks at."""

    custom_id: str
    response: Response
    error: None = None


def plan(source: str, folder: str, repetitions: int) -> dict[str, list[float]]:
    """Plan an input; beside it decode the same fields and copy the lines in a bare loop."""
    decode = msgspec.json.Decoder(Request).decode
    output = Path(folder) / "planned"
    warm_up(Path(source), Path(folder))

    def ours() -> None:
        plan_input(find_files(source), RunFolder(str(output)), BatchLimits(), None)

    def bare() -> None:
        with Path(source).open("rb", buffering=BUFFER) as file, output.open("wb", buffering=BUFFER) as copy:
            for line in file:
                decode(line)
                copy.write(line)

    return alternate({"ours": ours, "bare": bare}, repetitions, output)


def land_all(source: str, results: str, folder: str, repetitions: int) -> dict[str, list[float]]:
    """
    Land every shard and assemble; beside it a bare loop.

    Ours as a run does it: some at a time, every row checked, everything synced. The bare loop copies each file first.
    """
    run_folder, output = RunFolder(f"{folder}/run"), Path(folder) / "results.jsonl"
    warm_up(Path(source), Path(folder))
    pieces = plan_input(find_files(source), run_folder, BatchLimits(), None).pieces
    names = sorted(Path(results).iterdir())
    decode = msgspec.json.Decoder(Result).decode
    client: Any = LocalFiles()
    assembling: list[float] = []

    def note(piece: Piece, batch: Batch, landed: Landed) -> None:  # noqa: ARG001 - as the run's
        if landed.tally.counts != {"succeeded": piece.requests}:
            raise RuntimeError(f"Landed {landed.tally.counts}.")
        landed.note_in(piece)

    def ours() -> None:
        with Joiners(LANDINGS_AT_A_TIME) as joiners:
            bring = partial(land, client, run_folder, joiners=joiners, can_go_again=True)
            with Landings(bring, note, landed_files(run_folder), LANDINGS_AT_A_TIME) as landings:
                for piece, name in zip(pieces, names, strict=True):
                    batch = Batch(id=f"batch-{piece.number}", status=BatchStatus.COMPLETED, output_file_id=str(name))
                    landings.start(piece, batch)
        began = time.perf_counter()
        if write_results(run_folder, pieces, str(output)) != sum(piece.requests for piece in pieces):
            raise RuntimeError("Rows are missing.")
        assembling.append(time.perf_counter() - began)
        shutil.rmtree(run_folder.path("_run", "landed"))

    def bare(*, with_copy: bool = True) -> None:
        copied = Path(folder) / "copied"
        with output.open("wb", buffering=BUFFER) as rows:
            for name in names:
                if with_copy:
                    shutil.copyfile(name, copied)
                with (copied if with_copy else name).open("rb", buffering=BUFFER) as file:
                    for line in file:
                        decode(line)
                        rows.write(line)

    ways = {"ours": ours, "bare": bare, "bare without copy": lambda: bare(with_copy=False)}
    seconds = alternate(ways, repetitions, output)
    return seconds | {"ours: assemble": assembling[1:]}


class LocalFiles:
    """A service whose files are local ones."""

    settings = ServiceSettings(base_url="http://127.0.0.1:1/v1", check_file_sizes=False)

    def download_file(self, file_id: str, open_target: Callable[[], Any], *, expected_bytes: int | None) -> Any:  # noqa: ARG002
        size = 0
        with Path(file_id).open("rb") as file, open_target() as target:
            while piece := file.read(256 * 1024):
                target.write(piece)
                size += len(piece)
        return Copied(size)


class Copied(msgspec.Struct):
    bytes: int


def idle() -> dict[str, Any]:
    """The resident size of a task's process before it does anything."""
    return {"idle_bytes": idle_bytes()}


def whole_run(url: str, source: str, output: str) -> dict[str, Any]:
    """Do a whole run as a task does it, waiting here; measure time and memory of each step."""
    idle_bytes()
    with BatchClient(ServiceSettings(base_url=url)) as client:
        return drive(client, source, output)


def warm_up(source: Path, folder: Path) -> None:
    """What Airflow does once per process at the first read through ObjectStoragePath is not our work."""
    with source.open("rb") as file, (folder / "small.jsonl").open("wb") as small:
        small.writelines(file.readline() for _ in range(100))
    with removed(folder / "small"):
        plan_input(find_files(str(folder / "small.jsonl")), RunFolder(str(folder / "small")), BatchLimits(), None)


def alternate(ways: dict[str, Callable[[], None]], repetitions: int, output: Path) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repetitions + 1):
        for name, way in ways.items():
            gc.collect()
            os.sync()  # what was written before is not paid for by whoever comes next
            with removed(output):
                began = time.perf_counter()
                way()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - began)
    return seconds


@contextmanager
def removed(path: Path) -> Iterator[None]:
    """Remove what the block writes."""
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    # Everything a run writes aside belongs to the benchmark's folder.
    arguments = json.loads(sys.argv[2])
    tempfile.tempdir = arguments.pop("temp", None)
    print(json.dumps(globals()[sys.argv[1]](**arguments)))
