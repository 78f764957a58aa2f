"""
Files of the rows that came back. Who joins rows writes them; here they are given their places.

On local disk the pieces that land together share a file, one behind the other and nearly always in their order, so that
rows are written once and the file can become the results. It grows in sight: what counts of it is what the journal notes
after a sync. On object stores, which know no growing files, each piece has an object of its own, whole or not there.
Names are given once, so that two tries at once never write into each other's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition
from typing import Protocol
from uuid import uuid4

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.storage import paths, whole_files
from airflow_batch_provider.storage.blocks import local_twin
from airflow_batch_provider.storage.shards import RunFolder

# Copying a file whose pieces are out of order takes about as long; a slow download is not waited for.
TURN_SECONDS = 2.0


# Writes rows into a local file that exists, from a place in it on.
Write = Callable[[str, int], None]


class Slot(Protocol):
    """
    The place of one piece's rows.

    :param name: File in the run's folder of landed rows.
    :param offset: Where in it they begin.
    :param bytes: How many bytes they have, once that is known.
    """

    name: str
    offset: int
    bytes: int

    def fill(self, size: int, write: Write) -> None:
        """
        Let the rows be written. A write that failed may be followed by another.

        :param size: How many bytes they have.
        :param write: Writes them.
        """

    def close(self) -> None:
        """Say that nothing more is written, also when nothing was."""


class LandedFiles(Protocol):
    """Gives places to pieces."""

    def slot(self, piece: Piece) -> Slot:
        """
        Give the next place.

        :param piece: The piece.
        """

    def sync(self) -> None:
        """Make what is written outlive the machine's sudden end."""

    def close(self) -> None:
        """Close what is open."""


def landed_files(folder: RunFolder) -> LandedFiles:
    """
    Make the places for pieces that land together.

    :param folder: The run's files.
    """
    is_local = paths.local_path(paths.as_path(folder.output)) is not None
    return SharedFile(folder) if is_local else OwnObjects(folder)


def _new_name(piece: Piece) -> str:
    return f"{piece.name}-{uuid4().hex[:12]}.jsonl"


class SharedFile:
    """
    See :class:`LandedFiles`.

    :param folder: The run's files.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._name = ""
        self._target: int | None = None
        self._changed = Condition()
        self._given = self._next = self._end = 0
        self._closed: set[int] = set()

    def slot(self, piece: Piece) -> SharedSlot:
        """Give the next place."""
        self._name = self._name or _new_name(piece)
        self._given += 1
        return SharedSlot(self, self._name, self._given - 1)

    def sync(self) -> None:
        """Make what is written outlive the machine's sudden end."""
        if self._target is not None:
            os.fsync(self._target)

    def close(self) -> None:
        """Close what is open."""
        if self._target is not None:
            os.close(self._target)
            self._target = None

    def reserve(self, slot: SharedSlot, size: int) -> str:
        """
        Find room for a place when its turn comes, if it comes soon. Rows are then written side by side.

        :param slot: The place; gets its offset and size. It keeps the room it has if that is as large.
        :param size: How many bytes.
        :returns: The file, which exists.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._next >= slot.number, TURN_SECONDS)
            if slot.bytes != size:
                slot.offset, slot.bytes = self._end, size
                self._end += size
            path = paths.on_disk(self._folder.landed_file(self._name))
            if self._target is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        return str(path)

    def pass_on(self, number: int) -> None:
        """
        Let the next have its turn; closed in any order.

        :param number: Who needs none any more.
        """
        with self._changed:
            self._closed.add(number)
            while self._next in self._closed:
                self._next += 1
            self._changed.notify_all()


class SharedSlot:
    """See :class:`Slot`."""

    def __init__(self, file: SharedFile, name: str, number: int) -> None:
        self.name = name
        self.offset = self.bytes = 0
        self.number = number
        self._file = file

    def fill(self, size: int, write: Write) -> None:
        """Let the rows be written, behind those before if these come soon."""
        path = self._file.reserve(self, size)
        self._file.pass_on(self.number)  # it needs to know where these end, not that they are there
        write(path, self.offset)

    def close(self) -> None:
        """Let the next have its turn."""
        self._file.pass_on(self.number)


class OwnObjects:
    """
    See :class:`LandedFiles`.

    :param folder: The run's files.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def slot(self, piece: Piece) -> OwnSlot:
        """Give the next place."""
        return OwnSlot(self._folder, _new_name(piece))

    def sync(self) -> None:
        """Object stores keep what they have taken."""

    def close(self) -> None:
        """Nothing is open."""


class OwnSlot:
    """See :class:`Slot`."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        self.name = name
        self.offset = self.bytes = 0
        self._path = folder.landed_file(name)

    def fill(self, size: int, write: Write) -> None:
        """Let the rows be written into a local file, and bring it to the object store."""
        with whole_files.WholeFile(paths.as_path(self._path)) as stream, local_twin(stream) as twin:
            write(twin, 0)
        self.bytes = size

    def close(self) -> None:
        """Nobody waits."""
