from __future__ import annotations

import pytest

from airflow_batch_provider.sandbox.directives import Directives, parse_directives
from airflow_batch_provider.sandbox.errors import ApiError


def test_words_become_values() -> None:
    """Numbers, booleans and texts are read from their spelling."""
    found = parse_directives({"sandbox": "outcome=failed fail_rows=0.25  fail_code=429 stall=true seconds=3", "k": "v"})

    assert found == Directives(outcome="failed", fail_rows=0.25, fail_code=429, stall=True, seconds=3.0)


def test_no_directives_change_nothing() -> None:
    """Metadata without the key leaves everything as usual."""
    assert parse_directives({"team": "search"}) == Directives()


@pytest.mark.parametrize("text", ["outcome=lost", "fail_row=1", "fail_rows=2", "fail_code=200", "stall=maybe", "stall"])
def test_typos_are_refused(text: str) -> None:
    """A directive that cannot be followed is an error that lists those that can."""
    with pytest.raises(ApiError, match="Known are: outcome, fail_rows"):
        parse_directives({"sandbox": text})


@pytest.mark.parametrize(
    ("text", "outcome", "share"),
    [
        ("", "completed", 1.0),
        ("outcome=expired", "expired", 0.5),
        ("outcome=cancelled", "cancelled", 0.5),
        ("expire_after=0.2", "expired", 0.2),
        ("cancel_after=0", "cancelled", 0.0),
        ("queue_full=true", "failed", 1.0),
        ("stall=true", "completed", 0.5),
    ],
)
def test_the_planned_end_follows(text: str, outcome: str, share: float) -> None:
    """Each directive has one outcome and one share of rows done."""
    found = parse_directives({"sandbox": text})

    assert (found.planned_outcome, found.planned_share) == (outcome, share)
