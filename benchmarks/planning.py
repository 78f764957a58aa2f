"""Planning a run (read, check, split, write) against a bare loop, and against common.ai's validate and build."""

from __future__ import annotations

import statistics
from itertools import islice
from pathlib import Path

from benchmarks.data import write_requests
from benchmarks.report import Bar, Row, median_speed, speed_ratio
from benchmarks.run_peers import common_ai, micros, ours, skipped

REQUESTS = 1_000_000
PEER_REQUESTS = 50_000  # all it takes
LINE_BYTES = 700
MIN_RATIO, MIN_PEER_RATIO = 0.5, 5


def run(folder: Path, repetitions: int, requests: int = REQUESTS) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder, on the disk that is meant.
    :param repetitions: How often each way is run.
    :param requests: How many.
    """
    source, first = folder / "requests.jsonl", folder / "first.jsonl"
    size = write_requests(source, lines=requests, line_bytes=LINE_BYTES)
    with source.open("rb") as file, first.open("wb") as part:
        part.writelines(islice(file, PEER_REQUESTS))
    seconds = ours("plan", folder, source=str(source), folder=str(folder), repetitions=repetitions)
    ratio = speed_ratio(seconds["ours"], seconds["bare"])
    what = f"plan {requests:,} requests"
    figures = median_speed(seconds["ours"], size), f"bare loop {median_speed(seconds['bare'], size)}"
    rows = [Row(what, *figures, ratio, (Bar(ratio, MIN_RATIO),))]
    peer = common_ai("build", folder, source=str(first), repetitions=repetitions)
    if isinstance(peer, str):
        return [*rows, skipped(f"{what}, a request", peer)]
    own, theirs = statistics.median(seconds["ours"]), statistics.median(peer["seconds"])
    ratio = (theirs / peer["rows"]) / (own / requests)
    text = f"common.ai {peer['version']}, {peer['rows']:,} requests, to memory: {micros(theirs, peer['rows'])}"
    return [*rows, Row(f"{what}, a request", micros(own, requests), text, ratio, (Bar(ratio, MIN_PEER_RATIO),))]
