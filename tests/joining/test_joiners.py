"""Who joins a piece: helpers where they help, kept from piece to piece, none left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from airflow_batch_provider.joining import joiners
from airflow_batch_provider.joining.helper import Helper, HelperLostError
from airflow_batch_provider.joining.here import JoiningHere
from airflow_batch_provider.joining.joiners import Joiners
from tests.joining.support import job, lines_of

IDS = [str(number) for number in range(joiners.MIN_HELPED_REQUESTS)]
LINES = lines_of(IDS)
LARGE = job(len(IDS))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine this is."""
    monkeypatch.setattr(joiners, "_cores", lambda: 2)


@pytest.fixture
def two() -> Iterator[Joiners]:
    """Give joiners of two pieces at a time."""
    with Joiners(2) as started:
        yield started


def test_large_pieces_are_given_to_helpers_that_are_kept(two: Joiners) -> None:
    """One process after another would cost its start each time; two pieces at a time have two."""
    with two.joining(LARGE, LINES, []) as first, two.joining(LARGE, LINES, []) as second:
        assert isinstance(first, Helper)
        assert isinstance(second, Helper)
        assert first is not second
    with two.joining(LARGE, LINES, []) as third:
        assert third in (first, second)


def test_small_pieces_are_joined_here(two: Joiners) -> None:
    """A helper's start would take longer."""
    with two.joining(job(len(IDS) - 1), lines_of(IDS[1:]), []) as joining:
        assert isinstance(joining, JoiningHere)


def test_one_at_a_time_or_one_core_is_joined_here(two: Joiners, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing runs beside it a helper is a detour; and the caller may ask for none."""
    monkeypatch.setattr(joiners, "_cores", lambda: 1)
    found = []
    for each, may_help in ((Joiners(1), True), (Joiners(2), True), (two, False)):
        with each.joining(LARGE, LINES, [], may_help=may_help) as joining:
            found.append(type(joining))

    assert found == [JoiningHere] * 3


def test_a_helper_in_the_middle_of_something_is_not_used_again(two: Joiners) -> None:
    """After an error nobody knows what it still reads."""
    with pytest.raises(OSError, match="cut"), two.joining(LARGE, LINES, []) as first:
        raise OSError("cut")
    with two.joining(LARGE, LINES, []) as second:
        assert second is not first


def test_no_process_is_left() -> None:
    """They end with their keeper."""
    with Joiners(2) as each, each.joining(LARGE, LINES, []) as helper:
        assert isinstance(helper, Helper)
    with pytest.raises(ProcessLookupError):
        os.kill(helper.pid, 0)


def test_where_no_process_can_be_started_it_is_tried_once(two: Joiners, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next piece is joined here at once."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(HelperLostError), two.joining(LARGE, LINES, []):
        raise AssertionError("nobody joins")
    with two.joining(LARGE, LINES, []) as joining:
        assert isinstance(joining, JoiningHere)
