"""What a run says at its end, and at the end of each round."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from airflow_batch_provider.core.journal import Journal, total
from airflow_batch_provider.core.outcomes import Outcome


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
        "started_at": _iso(journal.started_at),
        "ended_at": _iso(now),
    }


def summary_so_far(journal: Journal, now: float) -> dict[str, Any]:
    """
    What ``summary.json`` holds while the run goes on: what has landed, and how far the shards are.

    :param journal: The run.
    :param now: Epoch seconds.
    """
    pieces = journal.pieces
    return _summary("running", journal) | {
        "shards": {
            "planned": len(pieces),
            "submitted": sum(piece.is_at_least("created") for piece in pieces),
            "landed": sum(piece.is_at_least("landed") for piece in pieces),
        },
        "started_at": _iso(journal.started_at),
        "updated_at": _iso(now),
    }


def _summary(status: str, journal: Journal) -> dict[str, Any]:
    counts, _ = total(journal.pieces)
    reasons: Counter[str] = Counter()
    for piece in journal.pieces:
        reasons.update(piece.final_reasons)
    return {
        "status": status,
        "requests": journal.requests,
        "outcomes": {outcome.value: counts.get(outcome, 0) for outcome in Outcome},
        "reasons": dict(reasons.most_common(20)),
        "usage": {
            "input_tokens": sum(piece.input_tokens for piece in journal.pieces),
            "output_tokens": sum(piece.output_tokens for piece in journal.pieces),
        },
        "rounds": journal.round + 1,
        "batches": len(journal.pieces),
        "batch_ids": [piece.batch_id for piece in journal.pieces],
    }


def round_line(journal: Journal, number: int) -> str:
    """
    Say how a round ended.

    :param journal: The run.
    :param number: The round.
    """
    pieces = journal.of_round(number)
    counts, reasons = total(pieces)
    parts = [f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome if counts.get(outcome)]
    if open_requests := sum(piece.open for piece in pieces):
        parts.append(f"{open_requests:,} open")
    why = ", ".join(f"{count:,}x {reason}" for reason, count in reasons.most_common(5))
    return f"Round {number}: {', '.join(parts)}{f' ({why})' if why else ''}."


def counted(number: int, noun: str) -> str:
    """
    A number with its noun: "1 shard", "2,000 shards".

    :param number: How many.
    :param noun: Of what, in the singular; the plural has an s (and batch an es).
    """
    plural = noun + ("es" if noun.endswith("ch") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def short_number(number: float) -> str:
    """
    A rough number: "850", "12k", "21.3M".

    :param number: The number.
    """
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1e3:.0f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
