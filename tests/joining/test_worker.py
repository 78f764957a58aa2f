"""What a helper's process does with frames, seen without a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_batch_provider.joining.frames import Frame, Kind
from airflow_batch_provider.joining.slots import Part
from airflow_batch_provider.joining.worker import Worker
from tests.core.test_joining import encode, success
from tests.joining.support import IDS, job, joined_here, lines_of

BEGIN = Frame(Kind.BEGIN, b'{"subject":"file x","skips_damage":false}')
END = Frame(Kind.END, b"")
FINISH = Frame(Kind.FINISH, b"")

Sent = list[tuple[Kind, dict[str, Any] | None]]


def told(frames: list[Frame], memory: bytes = b"") -> tuple[Worker, Sent]:
    """Tell a new worker a few things; return it and what it has sent, which goes on."""
    sent: Sent = []
    worker = Worker(memory, lambda kind, content: sent.append((kind, json.loads(content) if content else None)))
    for frame in frames:
        worker.take(frame)
    return worker, sent


def begun() -> list[Frame]:
    return [Frame(Kind.JOB, msgspec.json.encode(job())), Frame(Kind.IDS, lines_of(IDS)), BEGIN]


def data(start: int, stop: int) -> Frame:
    return Frame(Kind.DATA, Part(start, stop).to_bytes())


def test_each_piece_is_taken_and_each_question_answered(tmp_path: Path) -> None:
    """One word back for each, in order, and no other."""
    rows = encode(success("b")) + encode(success("a"))
    (tmp_path / "there").touch()
    write = json.dumps({"path": str(tmp_path / "there"), "offset": 0}).encode()
    pieces = [data(7, 20), data(20, 7 + len(rows))]

    _, sent = told([*begun(), *pieces, END, FINISH, Frame(Kind.WRITE, write)], b"before " + rows + b"behind")

    joined, expected = joined_here(tmp_path / "here", rows)
    assert sent == [
        (Kind.TAKEN, None),
        (Kind.TAKEN, None),
        (Kind.ANSWER, {"damage": None, "ends_whole": True}),
        (Kind.ANSWER, {"tally": joined.tally.to_dict(), "open_positions": [], "bytes": len(expected)}),
        (Kind.ANSWER, {}),
    ]
    assert (tmp_path / "there").read_bytes() == expected


def test_what_follows_a_damaged_line_is_passed_over() -> None:
    """The first damage is the answer; the next file begins without it."""
    worker, sent = told([*begun(), data(0, 7), data(7, 11), END], b"<html>\n[1]\n")
    kind, answer = sent[-1]
    assert [each for each, _ in sent] == [Kind.TAKEN, Kind.TAKEN, Kind.ANSWER]
    assert kind is Kind.ANSWER
    assert answer is not None
    assert answer["damage"].startswith("Row 1 of file x is not a whole JSON object")
    for frame in (Frame(Kind.ROLL_BACK, b""), BEGIN, END):
        worker.take(frame)

    assert sent[3:] == [(Kind.ANSWER, {"damage": None, "ends_whole": True})]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(BEGIN, id="begin"),
        pytest.param(Frame(Kind.IDS, b"[]"), id="ids"),
        pytest.param(data(0, 0), id="data"),
        pytest.param(END, id="end"),
        pytest.param(FINISH, id="finish"),
        pytest.param(Frame(Kind.WRITE, b"{}"), id="write"),
        *(pytest.param(Frame(kind, b""), id=kind.name.lower()) for kind in (Kind.ANSWER, Kind.READY, Kind.TAKEN)),
    ],
)
def test_frames_that_make_no_sense_end_the_worker(frame: Frame) -> None:
    """It is better lost than guessing."""
    with pytest.raises(ValueError, match=r"no sense|without a question"):
        told([frame])


def test_ids_and_requests_must_agree() -> None:
    """A shard whose ids are not all there is not joined."""
    with pytest.raises(ValueError, match="3 ids and 4 positions for 4 requests"):
        told([Frame(Kind.JOB, msgspec.json.encode(job(4))), Frame(Kind.IDS, lines_of(IDS))])
