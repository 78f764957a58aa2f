"""Landing a run (parse, join, order, write, assemble) against a bare loop, and against common.ai's merge."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.data import write_requests
from benchmarks.report import Bar, Row, median_seconds, median_speed, speed_ratio
from benchmarks.run_data import write_results
from benchmarks.run_peers import common_ai, micros, ours, skipped

SHARDS, SHARD_ROWS = 20, 50_000
REQUEST_BYTES, ROW_BYTES = 700, 900
MIN_RATIO, MIN_PEER_RATIO = 0.5, 5


def run(folder: Path, repetitions: int, shards: int = SHARDS) -> list[Row]:
    """
    Measure.

    :param folder: A temporary folder, on the disk that is meant.
    :param repetitions: How often each way is run.
    :param shards: How many shards of 50,000 requests.
    """
    source, results = folder / "requests.jsonl", folder / "answers"
    count = shards * SHARD_ROWS
    write_requests(source, lines=count, line_bytes=REQUEST_BYTES)
    write_results(results, shards=shards, rows=SHARD_ROWS, line_bytes=ROW_BYTES)
    size = sum(path.stat().st_size for path in results.iterdir())
    places = {"source": str(source), "results": str(results), "folder": str(folder)}
    seconds = ours("land_all", folder, **places, repetitions=repetitions)
    own, bare, copied = seconds["ours"], seconds["bare"], seconds["bare without copy"]
    what = f"land {count:,} rows in {shards} shards"
    ratio, strict = speed_ratio(own, bare), speed_ratio(own, copied)
    rows = [
        Row(
            f"{what}: download, check, join, order, write, assemble",
            median_speed(own, size),
            f"bare loop: copy each file, decode, write {median_speed(bare, size)}",
            ratio,
            (Bar(ratio, MIN_RATIO),),
        ),
        Row(
            "the same against the loop alone",
            median_speed(own, size),
            f"bare loop without copying {median_speed(copied, size)}",
            strict,
            (Bar(strict, MIN_RATIO),),
        ),
        Row("of it: put results.jsonl in its place", median_seconds(seconds["ours: assemble"]), ""),
    ]
    target = folder / "merged.jsonl"
    peer = common_ai("merge", folder, results=str(results / "00000.jsonl"), target=str(target), repetitions=repetitions)
    if isinstance(peer, str):
        return [*rows, skipped(f"{what}, a row", peer)]
    median, theirs = statistics.median(own), statistics.median(peer["seconds"])
    ratio = (theirs / peer["rows"]) / (median / count)
    text = f"common.ai {peer['version']}, {peer['rows']:,} rows, the text of each answer only: {micros(theirs, peer['rows'])}"
    return [*rows, Row(f"{what}, a row", micros(median, count), text, ratio, (Bar(ratio, MIN_PEER_RATIO),))]
