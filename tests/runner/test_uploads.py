"""Shards are uploaded a few at a time."""

from __future__ import annotations

import threading

import pytest

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.options import RunOptions
from airflow_batch_provider.uploading import Uploaded, Uploads


def piece(number: int, *, step: str = "planned") -> Piece:
    """Build a piece."""
    return Piece(number, 0, 0, "/v1/chat/completions", 1, 1, number, step=step)  # type: ignore[arg-type]


def options(at_a_time: int) -> RunOptions:
    """Build options."""
    return RunOptions(input="in", output="out", uploads_at_a_time=at_a_time)


def test_uploads_run_side_by_side_and_keep_their_pieces() -> None:
    """Three uploads meet each other under way, and each piece gets its own file."""
    together = threading.Barrier(3, timeout=20)

    def upload(each: Piece) -> Uploaded:
        together.wait()
        return Uploaded(f"file-{each.number}", 1.0)

    pieces = [piece(number) for number in range(6)]
    with Uploads(upload, options(3)) as uploads:
        uploads.start(pieces)
        found = [uploads.take(each).file_id for each in pieces]

    assert found == [f"file-{number}" for number in range(6)]


def test_one_at_a_time_uploads_when_asked() -> None:
    """With one at a time nothing is sent ahead of its turn."""
    sent: list[int] = []

    def upload(each: Piece) -> Uploaded:
        sent.append(each.number)
        return Uploaded("file", 1.0)

    with Uploads(upload, options(1)) as uploads:
        uploads.start([piece(0), piece(1)])
        before = list(sent)
        uploads.take(piece(1))

    assert (before, sent) == ([], [1])


def test_uploaded_pieces_are_not_sent_again() -> None:
    """A piece that an earlier try uploaded is passed over."""
    sent: list[int] = []

    def upload(each: Piece) -> Uploaded:
        sent.append(each.number)
        return Uploaded("file", 1.0)

    with Uploads(upload, options(2)) as uploads:
        uploads.start([piece(0, step="uploaded"), piece(1)])
        uploads.take(piece(1))

    assert sent == [1]


def test_a_failed_upload_fails_its_piece() -> None:
    """The error comes out where the piece is sent, and other pieces keep their files."""

    def upload(each: Piece) -> Uploaded:
        if each.number == 0:
            raise OSError("disk")
        return Uploaded(f"file-{each.number}", 1.0)

    with Uploads(upload, options(2)) as uploads:
        uploads.start([piece(0), piece(1)])
        with pytest.raises(OSError, match="disk"):
            uploads.take(piece(0))

        assert uploads.take(piece(1)).file_id == "file-1"
