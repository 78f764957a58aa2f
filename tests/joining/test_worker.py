"""What a helper's process does with frames, seen without a process."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from airflow_batch_provider.joining.frames import Frame, Kind
from airflow_batch_provider.joining.worker import Worker, serve
from tests.core.test_joining import encode, success
from tests.joining.support import IDS, job, joined_here, lines_of

BEGIN = Frame(Kind.BEGIN, b'{"subject":"file x","skips_damage":false}')


def begun() -> list[Frame]:
    return [Frame(Kind.JOB, msgspec.json.encode(job())), Frame(Kind.IDS, lines_of(IDS)), BEGIN]


def test_ends_and_finishes_are_answered_and_nothing_else(tmp_path: Path) -> None:
    """One answer to each question, in order."""
    rows = encode(success("b"))
    (tmp_path / "there").touch()
    finish = json.dumps({"path": str(tmp_path / "there"), "offset": 0}).encode()
    answers: list[bytes] = []
    serve([*begun(), Frame(Kind.DATA, rows), Frame(Kind.END, b""), Frame(Kind.FINISH, finish)], answers.append)

    joined, expected = joined_here(tmp_path / "here", rows)
    assert [json.loads(answer) for answer in answers] == [
        {"damage": None, "ends_whole": True},
        {"tally": joined.tally.to_dict(), "open_positions": [], "bytes": len(expected)},
    ]
    assert (tmp_path / "there").read_bytes() == expected


def test_what_follows_a_damaged_line_is_passed_over() -> None:
    """The first damage is the answer; the next file begins without it."""
    worker = Worker()
    for frame in [*begun(), Frame(Kind.DATA, b"<html>\n"), Frame(Kind.DATA, b"[1]\n")]:
        assert worker.take(frame) is None
    answer = worker.take(Frame(Kind.END, b""))
    assert answer is not None
    assert answer["damage"].startswith("Row 1 of file x is not a whole JSON object")
    worker.take(Frame(Kind.ROLL_BACK, b""))
    worker.take(BEGIN)

    assert worker.take(Frame(Kind.END, b"")) == {"damage": None, "ends_whole": True}


@pytest.mark.parametrize(
    "frame", [BEGIN, Frame(Kind.IDS, b"[]"), Frame(Kind.END, b""), Frame(Kind.ANSWER, b""), Frame(Kind.READY, b"")]
)
def test_frames_that_make_no_sense_end_the_worker(frame: Frame) -> None:
    """It is better lost than guessing."""
    with pytest.raises(ValueError, match=r"no sense|without a question"):
        Worker().take(frame)


def test_ids_and_requests_must_agree() -> None:
    """A shard whose ids are not all there is not joined."""
    worker = Worker()
    worker.take(Frame(Kind.JOB, msgspec.json.encode(job(4))))

    with pytest.raises(ValueError, match="3 ids and 4 positions for 4 requests"):
        worker.take(Frame(Kind.IDS, lines_of(IDS)))
