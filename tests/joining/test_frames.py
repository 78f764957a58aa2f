"""Frames through real pipes: whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from airflow_batch_provider.joining import frames
from airflow_batch_provider.joining.frames import Frame, Kind


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe."""
    source, target = os.pipe()
    yield source, target
    for end in (source, target):
        try:
            os.close(end)
        except OSError:
            assert end == target  # a test has closed it


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_a_frame_arrives_as_it_was_sent(pipe: tuple[int, int], size: int) -> None:
    """Also one that the pipe takes in pieces only."""
    source, target = pipe
    content = os.urandom(size)
    sender = threading.Thread(target=frames.send, args=(target, Kind.DATA, content))
    sender.start()

    assert frames.receive(source) == Frame(Kind.DATA, content)
    sender.join()


def test_frames_end_when_nobody_writes(pipe: tuple[int, int]) -> None:
    """The end of the task is the end of the helper."""
    source, target = pipe
    frames.send(target, Kind.BEGIN, b"x")
    frames.send(target, Kind.END)
    os.close(target)

    assert list(frames.receive_all(source)) == [Frame(Kind.BEGIN, b"x"), Frame(Kind.END, b"")]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\t\0\0\0\0\0", id="no-mark"),
        pytest.param(b"\xff\x63\0\0\0\0", id="unknown-kind"),
        pytest.param(b"Hello, world", id="text"),
    ],
)
def test_what_is_no_frame_is_refused_at_once(pipe: tuple[int, int], head: bytes) -> None:
    """Nobody waits for the length that a stray word seems to have."""
    source, target = pipe
    os.write(target, head)

    with pytest.raises(ValueError, match="no frame"):
        frames.receive(source)


@pytest.mark.parametrize("kept", [3, 6, 8])
def test_a_frame_that_is_cut_off_is_none(pipe: tuple[int, int], kept: int) -> None:
    """Who died while writing has said nothing."""
    source, target = pipe
    os.write(target, b"\xff\x05\x00\x00\x00\x05hello"[:kept])
    os.close(target)

    assert frames.receive(source) is None


def test_nobody_reads_any_more(pipe: tuple[int, int]) -> None:
    """The sender is told, by an error and not by a signal."""
    source, target = pipe
    os.close(source)

    with pytest.raises(BrokenPipeError):
        frames.send(target, Kind.DATA, b"x")
    os.dup2(target, source)  # for the fixture to close
