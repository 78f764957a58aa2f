"""What a run says at its end, and at the end of each round."""

from __future__ import annotations

import json

import pytest

from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.summary import (
    landed_line,
    plan_line,
    round_line,
    sent_line,
    summary_of,
    summary_so_far,
)
from tests.core.support import CHAT, NOW, batch


def piece(number: int, round_number: int, **changes: object) -> Piece:
    found = Piece(number, round_number, 0, CHAT, 5, 100, submission={"batch_id": f"batch_{round_number}{number}"})
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def journal() -> Journal:
    """Ten requests: 429 twice in round 0, once more in round 1; one 400 for good."""
    first = piece(0, 0, counts={"succeeded": 4, "failed": 1}, reasons={"400 bad": 1}, final_reasons={"400 bad": 1},
                  input_tokens=40, output_tokens=4)  # fmt: skip
    second = piece(1, 0, counts={"succeeded": 3}, open=2, reasons={"429 rate": 2}, input_tokens=30, output_tokens=3)
    again = piece(0, 1, counts={"succeeded": 1, "failed": 1}, reasons={"429 rate": 1}, final_reasons={"429 rate": 1},
                  input_tokens=10, output_tokens=1)  # fmt: skip
    owner = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
    return Journal(owner, "print", NOW, "1", requests=10, bytes=200, pieces=[first, second, again])


def test_the_summary_adds_up() -> None:
    """Outcomes add up to the requests, tokens to what all rounds used, and every outcome is named."""
    found = summary_of(journal(), "out/results.jsonl", "out/failures.jsonl", NOW + 90)

    assert found["outcomes"] == {
        "succeeded": 8, "failed": 2, "invalid": 0, "expired": 0, "cancelled": 0, "missing": 0,
    }  # fmt: skip
    assert sum(found["outcomes"].values()) == found["requests"] == 10
    assert found["usage"] == {"input_tokens": 80, "output_tokens": 8}
    assert (found["rounds"], found["batches"], found["batch_ids"]) == (2, 3, ["batch_00", "batch_01", "batch_10"])
    assert (found["started_at"], found["ended_at"]) == ("2027-01-15T08:00:00+00:00", "2027-01-15T08:01:30+00:00")
    assert json.loads(json.dumps(found)) == found


def test_reasons_are_those_of_requests_that_failed_in_the_end() -> None:
    """What failed once and succeeded in a later round is no reason for the run's failures."""
    found = summary_of(journal(), "r", None, NOW)

    assert found["reasons"] == {"400 bad": 1, "429 rate": 1}
    assert sum(found["reasons"].values()) == found["requests"] - found["outcomes"]["succeeded"]


def test_only_the_commonest_reasons_are_kept() -> None:
    """XCom stays small, however many ways a service has to fail."""
    run = journal()
    run.pieces[0].final_reasons = {f"400 code-{number}": number for number in range(1, 100)}

    reasons = summary_of(run, "r", None, NOW)["reasons"]

    assert len(reasons) == 20
    assert max(reasons.values()) == 99


def test_the_line_of_a_round_tells_outcomes_open_requests_and_reasons() -> None:
    """One line per round, also of what goes again and why."""
    assert round_line(journal(), 0) == "Round 0: 7 succeeded, 1 failed, 2 open (2x 429 rate, 1x 400 bad)."
    assert round_line(journal(), 1) == "Round 1: 1 succeeded, 1 failed (1x 429 rate)."


def test_a_run_that_goes_on_says_how_far_it_is() -> None:
    """The same fields as at the end as far as they are known, how far the shards are, and no paths of results."""
    running = journal()
    for piece_, step in zip(running.pieces, ("landed", "created", "uploaded"), strict=True):
        piece_.step = step  # type: ignore[assignment]
    running.pieces[2].created_at = NOW + 30
    seen = [batch("batch_10", counts=(2, 1, 0))]
    found, ended = summary_so_far(running, seen, NOW + 90), summary_of(running, "r", None, NOW)

    assert (found["status"], ended["status"]) == ("running", "completed")
    assert found["shards"] == {"planned": 3, "submitted": 2, "landed": 1}
    assert {key: found[key] for key in ("requests", "outcomes", "usage", "rounds")} == {
        key: ended[key] for key in ("requests", "outcomes", "usage", "rounds")
    }
    # 8 rows are home from round 0, 2 from round 1, and the service tells of one more.
    assert found["progress"] == {
        "done": 11, "failed": 2, "total": 10, "per_minute": 3.0, "estimated_end": "2027-01-15T08:01:30+00:00",
    }  # fmt: skip
    assert found["updated_at"] == "2027-01-15T08:01:30+00:00"
    assert not found.keys() & {"results", "failures", "ended_at"}


def test_only_batches_that_are_known_are_named() -> None:
    """A shard that was never sent has no batch: nobody gets to read a null."""
    early = journal()
    early.pieces[1].submission = None
    found = summary_so_far(early, [], NOW)

    assert (found["batches"], found["batch_ids"]) == (2, ["batch_00", "batch_10"])


def test_lines_that_gave_no_row_are_counted() -> None:
    """Counts that reconcile also say what was left out of them."""
    found = journal()
    found.pieces[0].duplicates, found.pieces[2].duplicates, found.pieces[2].strangers = 1, 2, 5

    assert summary_of(found, "r", None, NOW)["unused_lines"] == {"duplicates": 3, "strangers": 5}


def test_the_lines_of_a_shard() -> None:
    """What was sent, how big it was and how long it took; what came back and why the rest did not."""
    found = journal()
    first, again = found.pieces[0], found.pieces[2]
    first.input_file_id = again.input_file_id = "file-1"
    first.bytes = 28_400_000

    assert sent_line(found, first, 1.93) == "Shard 1/2: uploaded file-1 (28.4 MB in 1.9 s), batch batch_00 created."
    assert sent_line(found, again, None) == "Shard 1/1: uploaded file-1 (0.0 MB, before), batch batch_10 created."
    assert landed_line(found, found.pieces[1]) == "Shard 2/2 has landed: 3 succeeded, 2 open (2x 429 rate)."


@pytest.mark.parametrize(
    ("models", "files", "text"),
    [
        (["gpt-4o-mini"], 1, "Plan: 10 requests (84.1 MB, ~21.0M tokens) in 3 shards for /v1/chat/completions, "
                             "model gpt-4o-mini. No problems found."),
        (["a", "b", "c", "d"], 12, "Plan: 10 requests from 12 files (84.1 MB, ~21.0M tokens) in 3 shards for "
                                   "/v1/chat/completions, models a, b, c and more. No problems found."),
        ([], 1, "Plan: 10 requests (84.1 MB, ~21.0M tokens) in 3 shards for /v1/chat/completions. No problems found."),
    ],
)  # fmt: skip
def test_the_line_of_a_plan(models: list[str], files: int, text: str) -> None:
    """What will be paid for, before it is: how much, of what, for which models."""
    found = journal()
    found.bytes = 84_100_000

    assert plan_line(found, models, files) == text


def test_a_model_is_shown_as_one_short_line() -> None:
    """It comes from the input, which may hold anything."""
    line = plan_line(journal(), ["x" * 500 + "\n"], 1)

    assert len(line) < 250
    assert "\n" not in line
