"""What a run says of itself: lines for its log, and the summary, while it goes on and at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.journal import Journal, Piece, total
from airflow_batch_provider.core.outcomes import Outcome
from airflow_batch_provider.core.progress import as_json, iso_time
from airflow_batch_provider.core.requests import shorten
from airflow_batch_provider.core.standing import standing_of

SHOWN_MODELS = 3
# English prose; what decides about the size of a batch is more careful, see `limits`.
BYTES_PER_SHOWN_TOKEN = 4


def summary_of(journal: Journal, results: str, failures: str | None, now: float) -> dict[str, Any]:
    """
    The small dict that XCom gets and ``summary.json`` holds.

    :param journal: The run.
    :param results: Path of the results.
    :param failures: Path of the requests that never succeeded, or None.
    :param now: Epoch seconds.
    """
    return _summary("completed", journal) | {
        "results": results,
        "failures": failures,
        "started_at": iso_time(journal.started_at),
        "ended_at": iso_time(now),
    }


def summary_so_far(journal: Journal, batches: Iterable[Batch], now: float) -> dict[str, Any]:
    """
    What ``summary.json`` holds while the run goes on: what has landed, and how far shards and requests are.

    :param journal: The run.
    :param batches: Those that are awaited, as last seen.
    :param now: Epoch seconds.
    """
    pieces = journal.pieces
    return _summary("running", journal) | {
        "shards": {
            "planned": len(pieces),
            "submitted": sum(piece.is_at_least("created") for piece in pieces),
            "landed": sum(piece.is_at_least("landed") for piece in pieces),
        },
        "progress": as_json(standing_of(journal).with_batches(batches, now), now),
        "started_at": iso_time(journal.started_at),
        "updated_at": iso_time(now),
    }


def _summary(status: str, journal: Journal) -> dict[str, Any]:
    counts, _ = total(journal.pieces)
    reasons: Counter[str] = Counter()
    for piece in journal.pieces:
        reasons.update(piece.final_reasons)
    batch_ids = [piece.batch_id for piece in journal.pieces if piece.batch_id]
    return {
        "status": status,
        "requests": journal.requests,
        "outcomes": {outcome.value: counts.get(outcome, 0) for outcome in Outcome},
        "reasons": dict(reasons.most_common(20)),
        "usage": {
            "input_tokens": sum(piece.input_tokens for piece in journal.pieces),
            "output_tokens": sum(piece.output_tokens for piece in journal.pieces),
        },
        # Lines of result files that gave no row: a second one for a request, or one that nobody asked for.
        "unused_lines": {
            "duplicates": sum(piece.duplicates for piece in journal.pieces),
            "strangers": sum(piece.strangers for piece in journal.pieces),
        },
        "rounds": journal.round + 1,
        "batches": len(batch_ids),
        "batch_ids": batch_ids,
    }


def round_line(journal: Journal, number: int) -> str:
    """
    Say how a round ended.

    :param journal: The run.
    :param number: The round.
    """
    return f"Round {number}: {_found(journal.of_round(number))}."


def plan_line(journal: Journal, models: Sequence[str], files: int) -> str:
    """
    Say what will be sent.

    :param journal: The run, just planned.
    :param models: Models that its requests name, the first few.
    :param files: How many files the input has.
    """
    source = f" from {counted(files, 'file')}" if files > 1 else ""
    size = f"{journal.bytes / 1e6:.1f} MB, ~{_short_number(journal.bytes / BYTES_PER_SHOWN_TOKEN)} tokens"
    shards = counted(len(journal.pieces), "shard")
    endpoints = ", ".join(sorted({shorten(piece.endpoint) for piece in journal.pieces}))
    what = f"{counted(journal.requests, 'request')}{source} ({size})"
    return f"Plan: {what} in {shards} for {endpoints}{_models(models)}. No problems found."


def _models(models: Sequence[str]) -> str:
    if not models:
        return ""
    shown = ", ".join(map(shorten, models[:SHOWN_MODELS]))
    return f", model{'s' if len(models) > 1 else ''} {shown}{' and more' if len(models) > SHOWN_MODELS else ''}"


def sent_line(journal: Journal, piece: Piece, seconds: float | None) -> str:
    """
    Say that a shard is on its way.

    :param journal: The run.
    :param piece: The shard's piece, its batch created.
    :param seconds: How long its upload took; None when it was uploaded before.
    """
    uploaded = f"uploaded {piece.input_file_id} ({piece.bytes / 1e6:.1f} MB"
    took = ", before)" if seconds is None else f" in {seconds:.1f} s)"
    return f"{_shard(journal, piece)}: {uploaded}{took}, batch {piece.batch_id} created."


def landed_line(journal: Journal, piece: Piece) -> str:
    """
    Say what came back for a shard.

    :param journal: The run.
    :param piece: The shard's piece, landed.
    """
    return f"{_shard(journal, piece)} has landed: {_found([piece])}."


def _shard(journal: Journal, piece: Piece) -> str:
    return f"Shard {piece.number + 1}/{len(journal.of_round(piece.round))}"


def _found(pieces: Iterable[Piece]) -> str:
    pieces = list(pieces)
    counts, reasons = total(pieces)
    parts = [f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome if counts.get(outcome)]
    if open_requests := sum(piece.open for piece in pieces):
        parts.append(f"{open_requests:,} open")
    why = ", ".join(f"{count:,}x {reason}" for reason, count in reasons.most_common(5))
    return f"{', '.join(parts)}{f' ({why})' if why else ''}"


def counted(number: int, noun: str) -> str:
    """
    A number with its noun: "1 shard", "2,000 shards".

    :param number: How many.
    :param noun: Of what, in the singular; the plural has an s (and batch an es).
    """
    plural = noun + ("es" if noun.endswith("ch") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def _short_number(number: float) -> str:
    """
    A rough number: "850", "12k", "21.3M".

    :param number: The number.
    """
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"
