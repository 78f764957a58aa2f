"""How far a run is, from its journal and what is seen of its batches."""

from __future__ import annotations

import json

import pytest

from airflow_batch_provider.core.journal import Journal, Piece
from airflow_batch_provider.core.standing import Progress, Standing, standing_of
from tests.core.support import CHAT, NOW, batch


def standing(**changes: int) -> Standing:
    """Build the standing of a run of 100 requests in 10 shards; 30 rows are home."""
    values = {
        "round": 0,
        "shards": 10,
        "landed": 3,
        "done": 30,
        "failed": 2,
        "total": 100,
        "since": NOW,
        "done_before": 0,
    }
    return Standing(**values | changes)  # type: ignore[arg-type]


def test_rows_that_are_home_and_batches_that_run_are_one_sum() -> None:
    """Who reads the progress of a run does not care which of its batches have landed already."""
    found = standing().with_batches([batch("a", counts=(10, 4, 1)), batch("b", counts=(10, 5, 0))], NOW + 60)

    assert found == Progress(done=40, failed=3, total=100, pace=40 / 60, seconds_left=90)


def test_batches_without_counts_add_nothing() -> None:
    """Some services give no counts: what has landed is known all the same."""
    assert standing().with_batches([batch("a")], NOW + 60) == Progress(30, 2, 100, 0.5, 140)


def test_the_pace_is_that_of_the_round() -> None:
    """Few requests go again, more slowly perhaps: what an earlier round did, and when, says nothing about them."""
    later = standing(round=1, done=95, done_before=90)

    assert later.with_batches([], NOW + 10).pace == 0.5
    assert standing(round=1, done=90, done_before=90).with_batches([], NOW + 10).pace is None


def test_a_round_of_unknown_age_has_no_pace() -> None:
    """A journal of an older version does not say when its batches were created."""
    assert standing(since=0).with_batches([], NOW)[3:] == (None, None)


@pytest.mark.parametrize("now", [pytest.param(NOW, id="same-moment"), pytest.param(NOW - 5, id="clock-put-back")])
def test_without_time_there_is_no_pace(now: float) -> None:
    """Nothing is divided by nothing, and no estimate is made up."""
    assert standing().with_batches([], now)[3:] == (None, None)


def test_a_handful_of_rows_is_no_base_for_an_estimate() -> None:
    """Batches stand in a queue for an hour and then are quick: "83 h left" after ten rows would only alarm people."""
    early = standing(done=0, landed=0, total=5_000)

    assert early.with_batches([batch("a", counts=(500, 49, 0))], NOW + 60)[3:] == (49 / 60, None)
    assert early.with_batches([batch("a", counts=(500, 50, 0))], NOW + 60)[3:] == (50 / 60, 5_940)


def test_nothing_less_than_nothing_is_left() -> None:
    """A service may count more than was sent."""
    assert standing().with_batches([batch("a", counts=(10, 500, 0))], NOW + 1).seconds_left == 0


def test_travels_as_json_and_survives_another_version() -> None:
    """It waits in a trigger while the provider is upgraded: what is not understood costs words, not the run."""
    data = json.loads(json.dumps(standing().to_dict()))

    assert Standing.from_dict(data) == standing()
    assert Standing.from_dict(None) is None
    assert Standing.from_dict(data | {"colour": "blue"}) is None
    assert Standing.from_dict({"round": 1}) is None


def test_what_goes_again_is_not_done() -> None:
    """Two rounds: rows for good count once, open ones not at all, and the clock is that of the newest round."""
    first = Piece(0, 0, 0, CHAT, 5, 1, step="landed", counts={"succeeded": 2, "failed": 1}, open=2, created_at=NOW)
    again = Piece(0, 1, 0, CHAT, 2, 1, step="created", created_at=NOW + 70)
    unsent = Piece(1, 1, 0, CHAT, 2, 1)
    journal = Journal({}, "print", NOW, "1", requests=5, pieces=[first, again, unsent])

    assert standing_of(journal) == Standing(
        round=1, shards=2, landed=0, done=3, failed=1, total=5, since=NOW + 70, done_before=3
    )
