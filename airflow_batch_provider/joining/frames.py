"""What a task and its helper say to each other through pipes: frames of a kind, a length and a content."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

_HEAD = struct.Struct(">BBI")
HEAD_BYTES = _HEAD.size
# Begins every frame; no text in UTF-8 has this byte.
_MARK = 0xFF


class Kind(IntEnum):
    """
    What a frame is about.

    A helper says ``READY`` once, ``TAKEN`` for each ``DATA``, and answers ``END``, ``FINISH`` and ``WRITE`` with one
    ``ANSWER`` each.
    """

    JOB = 1
    IDS = 2
    POSITIONS = 3
    BEGIN = 4
    DATA = 5
    END = 6
    ROLL_BACK = 7
    FINISH = 8
    WRITE = 9
    ANSWER = 10
    READY = 11
    TAKEN = 12


_KINDS = frozenset(Kind)


class Frame(NamedTuple):
    """
    A frame.

    :param kind: What it is about.
    :param content: JSON, or as its kind has it.
    """

    kind: Kind
    content: bytes


def send(target: int, kind: Kind, content: bytes = b"", *, wait: Callable[[], None] = lambda: None) -> None:
    """
    Send a frame.

    :param target: Descriptor of a pipe.
    :param kind: What it is about.
    :param content: Its content.
    :param wait: Waits until a full pipe takes more, when writing to it does not wait by itself.
    :raises OSError: Nobody reads any more.
    """
    head = _HEAD.pack(_MARK, kind, len(content))
    written = 0
    with suppress(BlockingIOError):
        written = os.writev(target, [head, content])
    if written < len(head) + len(content):
        rest = memoryview(head + content)[written:]
        while rest:
            wait()
            with suppress(BlockingIOError):
                rest = rest[os.write(target, rest) :]


def receive(source: int) -> Frame | None:
    """
    Wait for the next frame.

    :param source: Descriptor of a pipe.
    :returns: The frame; None when nobody writes any more.
    :raises ValueError: What came is no frame.
    """
    head = _read(source, _HEAD.size)
    if head is None:
        return None
    mark, kind, size = _HEAD.unpack(head)
    if mark != _MARK or kind not in _KINDS:
        raise ValueError("What came through the pipe is no frame.")
    content = _read(source, size)
    return None if content is None else Frame(Kind(kind), content)


def receive_all(source: int) -> Iterator[Frame]:
    """
    All frames until nobody writes any more.

    :param source: Descriptor of a pipe.
    """
    while (frame := receive(source)) is not None:
        yield frame


def _read(source: int, size: int) -> bytes | None:
    found = os.read(source, size) if size else b""
    if len(found) == size:
        return found
    pieces = [found]
    left = size - len(found)
    while left and pieces[-1]:
        pieces.append(os.read(source, left))
        left -= len(pieces[-1])
    return None if left else b"".join(pieces)
