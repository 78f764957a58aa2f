"""
Memory that a task and its helper share. Files go through it; the pipe only says where in it they are.

A pipe would take every byte through the kernel twice, page by page, and wake somebody up for each small piece.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# What lies in a slot, and what is made of it, fit in a core's own cache.
SLOT_BYTES = 1 << 18
# One is filled while one is read; the others are for when both do not go at the same pace.
SLOTS = 4

_PART = struct.Struct(">II")


class Part(NamedTuple):
    """
    Where something lies.

    :param start: Where it begins.
    :param stop: Where it ends.
    """

    start: int
    stop: int

    def to_bytes(self) -> bytes:
        """Write it for the pipe."""
        return _PART.pack(*self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Part:
        """
        Read it.

        :param content: See :meth:`to_bytes`.
        """
        return cls(*_PART.unpack(content))


@contextmanager
def memory_file() -> Iterator[int]:
    """
    Make the memory. It is there for as long as a process has it open or mapped, and has no name to open it by.

    :returns: A descriptor, to be mapped here and given to another process before the block ends.
    :raises OSError: It cannot be made.
    """
    descriptor = os.memfd_create("batch-rows") if hasattr(os, "memfd_create") else _nameless_file()
    try:
        os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
        yield descriptor
    finally:
        os.close(descriptor)


def _nameless_file() -> int:
    with tempfile.TemporaryFile(prefix="batch-rows-") as file:
        return os.dup(file.fileno())


def mapped(descriptor: int) -> mmap.mmap:
    """
    Look into the memory.

    :param descriptor: See :func:`memory_file`; it is not closed.
    :raises OSError: It cannot be done here.
    """
    return mmap.mmap(descriptor, SLOTS * SLOT_BYTES)


class Filling:
    """
    Fills slot after slot, round and round. Whoever uses it sees to it that the next one is free.

    :param memory: See :func:`mapped`.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._start = self._stop = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits in."""
        return self._stop - self._start == SLOT_BYTES

    def put(self, data: memoryview) -> int:
        """
        Put data in, as far as it fits.

        :param data: Bytes.
        :returns: How many are in now.
        """
        size = min(len(data), SLOT_BYTES - (self._stop - self._start))
        self._memory[self._stop : self._stop + size] = data[:size]
        self._stop += size
        return size

    def turn(self) -> Part:
        """Return what has been filled, and go on to the next slot."""
        part = Part(self._start, self._stop)
        self._start = self._stop = (self._start + SLOT_BYTES) % (SLOTS * SLOT_BYTES)
        return part

    def empty(self) -> None:
        """Forget what has been filled since the last turn."""
        self._stop = self._start
