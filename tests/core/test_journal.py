"""The journal as a value: steps that only go forward, and a form that other processes and versions can read."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.journal import Journal, Piece, Step, total
from airflow_batch_provider.exceptions import JournalUnreadableError
from tests.core.support import CHAT, NOW

STEPS: tuple[Step, ...] = get_args(Step)
OWNER = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": 3}


def piece(step: Step = "planned", **changes: Any) -> Piece:
    return Piece(2, 1, 0, CHAT, 5, 100, step=step, **changes)


def journal(*pieces: Piece) -> Journal:
    return Journal(OWNER, "print", NOW, "2", deadline_at=NOW + 5, requests=5, bytes=100, pieces=list(pieces))


@pytest.mark.parametrize("found", STEPS)
@pytest.mark.parametrize("asked", STEPS)
def test_only_the_next_step_is_legal(found: Step, asked: Step) -> None:
    """A piece goes forward one step at a time; anything else is a mistake and changes nothing."""
    each = piece(found)
    if STEPS.index(asked) == STEPS.index(found) + 1:
        each.advance_to(asked)
        assert each.step == asked
    else:
        with pytest.raises(ValueError, match=f"that is {found} cannot become {asked}"):
            each.advance_to(asked)
        assert each.step == found


@pytest.mark.parametrize("found", STEPS)
def test_a_piece_knows_what_it_has_passed(found: Step) -> None:
    """Reached steps stay reached."""
    passed = [step for step in STEPS if piece(found).is_at_least(step)]

    assert passed == list(STEPS[: STEPS.index(found) + 1])


def test_a_journal_survives_being_written() -> None:
    """Every field comes back from the JSON, the pieces too."""
    done = piece("created", submission={"key": "k", "batch_id": "batch_1"}, file_ids=["f"], counts={"failed": 1},
                 final_reasons={"400": 1}, cancelled_at=NOW)  # fmt: skip
    written = journal(piece(), done)
    written.summary = {"requests": 5}

    found = Journal.from_dict(json.loads(json.dumps(written.to_dict())), "journal.json")

    assert found == written
    assert found.owner_identity() == TaskIdentity("d", "t", "r", 3)


def change(**changes: Any) -> Any:
    return journal(piece()).to_dict() | changes


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(change(version=2), id="later-version"),
        pytest.param(change(version=None), id="no-version"),
        pytest.param({}, id="empty"),
        pytest.param([], id="list"),
        pytest.param(None, id="null"),
        pytest.param("text", id="text"),
        pytest.param(change(unheard_of=1), id="unknown-field"),
        pytest.param(change(pieces=[{"number": 0}]), id="half-a-piece"),
        pytest.param(change(pieces=None), id="no-pieces"),
        pytest.param({"version": 1, "pieces": []}, id="no-owner"),
    ],
)
def test_what_is_no_journal_is_never_taken_for_none(data: Any) -> None:
    """It may tell of paid batches: the error names the file and says that nothing was started."""
    with pytest.raises(JournalUnreadableError, match="out/journal.json is not a journal .* nothing was started"):
        Journal.from_dict(data, "out/journal.json")


def test_a_journal_without_newer_fields_can_be_read() -> None:
    """Fields that were added with a default may be absent from what an earlier version wrote."""
    data = journal(piece()).to_dict()
    del data["pieces"][0]["final_reasons"]

    assert Journal.from_dict(data, "journal.json").pieces == [piece()]


def test_rounds_are_told_apart() -> None:
    """The newest round is the highest; an empty journal is in round 0."""
    first, second = Piece(0, 0, 0, CHAT, 1, 1), Piece(0, 1, 0, CHAT, 1, 1)
    found = journal(first, second)

    assert (found.round, journal().round) == (1, 0)
    assert (found.of_round(0), found.of_round(1), found.of_round(2)) == ([first], [second], [])
    assert (first.name, second.name) == ("0-00000", "1-00000")


def test_a_batch_is_known_once_its_answer_came() -> None:
    """The intent alone names no batch."""
    assert piece().batch_id is None
    assert piece(submission={"key": "k", "batch_id": None}).batch_id is None
    assert piece(submission={"key": "k", "batch_id": "batch_1"}).batch_id == "batch_1"


def test_totals_add_up_over_pieces() -> None:
    """Outcomes and reasons of all pieces, summed."""
    counts, reasons = total(
        [piece(counts={"failed": 2}, reasons={"400": 2}), piece(counts={"failed": 1, "missing": 1})]
    )

    assert (counts, reasons) == ({"failed": 3, "missing": 1}, {"400": 2})
