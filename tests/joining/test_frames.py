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


@pytest.mark.parametrize("kept", [3, 5, 7])
def test_a_frame_that_is_cut_off_is_none(pipe: tuple[int, int], kept: int) -> None:
    """Who died while writing has said nothing."""
    source, target = pipe
    os.write(target, b"\x05\x00\x00\x00\x05hello"[:kept])
    os.close(target)

    assert frames.receive(source) is None


def test_nobody_reads_any_more(pipe: tuple[int, int]) -> None:
    """The sender is told, by an error and not by a signal."""
    source, target = pipe
    os.close(source)

    with pytest.raises(BrokenPipeError):
        frames.send(target, Kind.DATA, b"x")
    os.dup2(target, source)  # for the fixture to close
