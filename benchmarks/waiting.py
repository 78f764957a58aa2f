"""Waiting for thousands of batches in one event loop, as a triggerer does, against the triggers of other providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.imports import PEER_VERSIONS
from benchmarks.report import Bar, Row, SkippedError
from benchmarks.waiting_runs import Run, wait_for
from benchmarks.waiting_worker import INTERVAL_SECONDS

FEW, MANY = 1_000, 10_000
# Every account has older batches of others; a list that is read to its end must pay for them.
OLDER = 1_000
LIMIT_SECONDS, LIMIT_WITHOUT_LIST_SECONDS = 240, 45
PEERS = {
    "openai": f"openai {PEER_VERSIONS['apache-airflow-providers-openai']}",
    "common-ai": f"common-ai {PEER_VERSIONS['apache-airflow-providers-common-ai']}",
}
MIN_FEWER_REQUESTS, MIN_LESS_CPU, MIN_LESS_MEMORY = 20, 10, 10
FEW_LAG_MS, FEW_INTERVALS = 10, 1.5
MANY_LAG_MS, MANY_MAX_LAG_MS, MANY_GROWN_MB, MANY_INTERVALS = 20, 200, 100, 2


def run(folder: Path, repetitions: int) -> list[Row]:  # noqa: ARG001 - as all benchmarks
    """
    Measure, each once: a run takes half a minute to four minutes, and its spreads come from 1,000 batches.

    :param folder: A temporary folder.
    :param repetitions: Not used.
    """
    older = ("--older", str(OLDER))
    few = wait_for("ours", FEW, LIMIT_SECONDS, folder, *older)
    peers: dict[str, Run] = {}
    missing = []
    for name, title in PEERS.items():
        try:
            peers[title] = wait_for(name, FEW, LIMIT_SECONDS, folder, *older)
        except SkippedError as reason:
            missing.append(Row(f"{FEW:,} waits", "", f"SKIPPED: {reason}"))
    busy = wait_for("ours", FEW, LIMIT_SECONDS, folder, *older, "--newer", str(5 * FEW))
    many = wait_for("ours", MANY, LIMIT_SECONDS, folder, *older)
    without_list = wait_for("ours", MANY, LIMIT_WITHOUT_LIST_SECONDS, folder, "--no-list")
    return [
        *_compared(few, peers),
        *missing,
        *_in_a_busy_account(busy),
        *_many(many),
        *_without_list(without_list),
    ]


def _compared(ours: Run, peers: Mapping[str, Run]) -> list[Row]:
    what = f"{FEW:,} waits"

    def row(title: str, figure: Callable[[Run], str], value: Callable[[Run], float], at_least: float) -> Row:
        ratio = min(value(peer) for peer in peers.values()) / value(ours) if peers else None
        bars = () if ratio is None else (Bar(ratio, at_least),)
        return Row(f"{what}: {title}", figure(ours), _each(peers, figure), ratio, bars)

    return [
        Row(f"{what}: until each had asked once", _all_asked(ours), _each(peers, _all_asked)),
        row("HTTP requests", lambda r: f"{r.requests:,}", lambda r: r.requests, MIN_FEWER_REQUESTS),
        Row(f"{what}: HTTP requests for 1,000 looks at a batch", _per_look(ours), _each(peers, _per_look)),
        row("CPU", _cpu, lambda r: float(r.worker["cpu_seconds"]), MIN_LESS_CPU),
        row("memory growth", _grown, lambda r: r.grown_mb, MIN_LESS_MEMORY),
        Row(f"{what}: loop's lag", _lag(ours), _each(peers, _lag), None, (_lag_bar(ours, FEW_LAG_MS),)),
        Row(f"{what}: lag of an idle loop beside it", _idle(ours), _each(peers, _idle)),
        Row(
            f"{what}: delay of detection", _delay(ours), _each(peers, _delay), None, (_delay_bar(ours, FEW_INTERVALS),)
        ),
        Row(f"{what}: detected", _detected(ours), _each(peers, _detected)),
        Row(f"{what}: server's own lateness", _server(ours), _each(peers, _server)),
    ]


def _in_a_busy_account(ours: Run) -> list[Row]:
    text = (
        f"{ours.requests:,} requests, CPU {_cpu(ours)}, growth {_grown(ours)}, lag {_lag(ours)}, delay {_delay(ours)}, "
        f"{_detected(ours)}"
    )
    return [Row(f"{FEW:,} waits behind {5 * FEW:,} newer batches of others", text, "")]


def _many(ours: Run) -> list[Row]:
    what = f"{MANY:,} waits"
    return [
        Row(f"{what}: HTTP requests, CPU", f"{ours.requests:,}, {_cpu(ours)}", ""),
        *_loop_and_memory(what, ours),
        Row(f"{what}: delay of detection", _delay(ours), "", None, (_delay_bar(ours, MANY_INTERVALS),)),
        Row(f"{what}: detected; server's own lateness", f"{_detected(ours)}; {_server(ours)}", ""),
    ]


def _without_list(ours: Run) -> list[Row]:
    what = f"{MANY:,} waits, no list"
    seen, gaps, asked = MANY - ours.service["never_looked_at"], ours.service["gap_seconds"], ours.service
    rate = f"{ours.requests / ours.worker['seconds']:.0f}/s, most in a second {asked['most_in_a_second']}"
    looks = f"each once before any twice: {'yes' if asked['most_looks'] - asked['least_looks'] <= 1 else '**no**'}"
    told = "; ".join(ours.warnings) or "**nothing**"
    return [
        *_loop_and_memory(what, ours),
        Row(f"{what}: requests", f"{rate}, at once {asked['most_at_once']}; CPU {_cpu(ours)}", ""),
        Row(
            f"{what}: shared fairly",
            f"{seen:,} batches looked at in {ours.worker['seconds']:.0f} s, {looks}; "
            f"gaps p50 {gaps['p50']:.0f} s, max {gaps['max']:.0f} s; {_detected(ours)}",
            "",
        ),
        Row(f"{what}: said in the log", told, ""),
    ]


def _loop_and_memory(what: str, ours: Run) -> list[Row]:
    most = Bar(ours.worker["lag_ms"]["max"], MANY_MAX_LAG_MS, at_least=False, unit=" ms")
    grown = Bar(ours.grown_mb, MANY_GROWN_MB, at_least=False, unit=" MB")
    return [
        Row(f"{what}: loop's lag", _lag(ours), f"idle loop {_idle(ours)}", None, (_lag_bar(ours, MANY_LAG_MS), most)),
        Row(f"{what}: memory growth", _grown(ours), "", None, (grown,)),
    ]


def _each(peers: Mapping[str, Run], figure: Callable[[Run], str]) -> str:
    return "; ".join(f"{title}: {figure(peer)}" for title, peer in peers.items())


def _all_asked(run: Run) -> str:
    seconds = run.service["all_asked_after_seconds"]
    return f"not within {run.worker['seconds']:.0f} s" if seconds is None else f"{seconds:.1f} s"


def _per_look(run: Run) -> str:
    return f"{1000 * run.requests / max(1, run.service['looks']):.0f}"


def _cpu(run: Run) -> str:
    return f"{run.worker['cpu_seconds']:.2f} s"


def _grown(run: Run) -> str:
    return f"{run.grown_mb:.1f} MB"


def _lag(run: Run) -> str:
    return _milliseconds(run.worker["lag_ms"])


def _idle(run: Run) -> str:
    return _milliseconds(run.idle_lag_ms)


def _server(run: Run) -> str:
    return _milliseconds(run.service["server_late_ms"])


def _milliseconds(values: Mapping[str, float]) -> str:
    return " / ".join(f"{values[name]:,.1f}" for name in ("p50", "p99", "max")) + " ms"


def _delay(run: Run) -> str:
    sign = "" if run.detected == len(run.delays) else ">= "
    return f"{sign}{run.delay['p50']:.1f} / {sign}{run.delay['p99']:.1f} s"


def _detected(run: Run) -> str:
    others = "".join(f"; {text[:120]} ({times})" for text, times in run.worker["others"])
    return f"{run.detected:,} of {len(run.delays):,} in {run.worker['seconds']:.0f} s{others}"


def _lag_bar(run: Run, limit: float) -> Bar:
    return Bar(run.worker["lag_ms"]["p99"], limit, at_least=False, unit=" ms")


def _delay_bar(run: Run, intervals: float) -> Bar:
    return Bar(run.delay["p99"], intervals * INTERVAL_SECONDS, at_least=False, unit=" s")
