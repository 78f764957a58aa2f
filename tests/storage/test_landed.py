"""Places for rows: in order, whoever is first; a place that stays empty holds nobody up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.storage import landed
from airflow_batch_provider.storage.landed import LandedFiles, OwnObjects, SharedFile, Slot, Write, landed_files
from airflow_batch_provider.storage.shards import RunFolder
from tests.core.support import CHAT


def writing(content: bytes) -> Write:
    """Write some rows as a joiner does: through a descriptor of its own."""

    def write(path: str, offset: int) -> None:
        target = os.open(path, os.O_WRONLY)
        os.pwrite(target, content, offset)
        os.close(target)

    return write


def fill(slot: Slot, content: bytes) -> None:
    """Fill a place with rows."""
    slot.fill(len(content), writing(content))


def piece(number: int) -> Piece:
    return Piece(number, 0, 0, CHAT, 1, 0, number)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out"))


def read(folder: RunFolder, slot: Slot) -> bytes:
    return Path(folder.landed_file(slot.name)).read_bytes()[slot.offset :][: slot.bytes]


def test_rows_lie_in_the_order_in_which_places_were_given(folder: RunFolder) -> None:
    """Who has joined first waits for those before; the file is all of them and nothing else."""
    files = SharedFile(folder)
    slots = [files.slot(piece(number)) for number in range(5)]
    contents = [b"%d" % number * (number + 1) for number in range(5)]

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(fill, reversed(slots), reversed(contents)))
    files.sync()
    files.close()

    assert [read(folder, slot) for slot in slots] == contents
    assert Path(folder.landed_file(slots[0].name)).read_bytes() == b"".join(contents)


def test_a_slow_download_holds_nobody_up(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would have to wait for long writes out of turn; whose turn it was follows, and nothing is overwritten."""
    monkeypatch.setattr(landed, "TURN_SECONDS", 0.0)
    files = SharedFile(folder)
    slots = [files.slot(piece(number)) for number in range(3)]
    for number in (2, 0, 1):
        fill(slots[number], b"%d" % number * 10)
    files.close()

    assert [slot.offset for slot in slots] == [10, 20, 0]
    assert [read(folder, slot) for slot in slots] == [b"0" * 10, b"1" * 10, b"2" * 10]


def test_a_place_that_stays_empty_holds_nobody_up(folder: RunFolder) -> None:
    """A landing that failed passes its turn on, before its turn has come too."""
    files = SharedFile(folder)
    slots = [files.slot(piece(number)) for number in range(4)]
    filled = threading.Event()

    def fill_last() -> None:
        fill(slots[3], b"last")
        filled.set()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fill_last)
        slots[1].close()
        slots[2].close()
        assert not filled.is_set()
        fill(slots[0], b"first")
        future.result(timeout=20)
    files.close()

    assert read(folder, slots[3]) == b"last"
    assert slots[3].offset == len(b"first")


def test_rows_are_written_side_by_side(folder: RunFolder) -> None:
    """Who comes next needs to know how many bytes those before have, not that they are there."""
    files = SharedFile(folder)
    slots = [files.slot(piece(number)) for number in range(2)]
    together = threading.Barrier(2, timeout=20)

    def write(path: str, offset: int) -> None:
        together.wait()
        writing(b"rows%d" % offset)(path, offset)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda slot: slot.fill(5, write), slots))
    files.close()

    assert Path(folder.landed_file(slots[0].name)).read_bytes() == b"rows0rows5"


def half(path: str, offset: int) -> None:
    """Write as a helper that is lost in the middle of it."""
    writing(b"half")(path, offset)
    raise OSError("lost")


@pytest.mark.parametrize(
    ("content", "offset"), [pytest.param(b"as large", 0, id="as-large"), pytest.param(b"a larger one", 12, id="larger")]
)
def test_a_write_that_failed_is_followed_by_another(folder: RunFolder, content: bytes, offset: int) -> None:
    """In its place, and in another if that is too small: a second download may bring more. Nobody's rows are touched."""
    files = SharedFile(folder)
    first, second = files.slot(piece(0)), files.slot(piece(1))

    with pytest.raises(OSError, match="lost"):
        first.fill(len(b"as large"), half)
    fill(second, b"next")
    fill(first, content)
    files.close()

    assert first.offset == offset
    assert (read(folder, first), read(folder, second)) == (content, b"next")


@pytest.mark.parametrize("make", [SharedFile, OwnObjects])
def test_tries_have_files_of_their_own(folder: RunFolder, make: Callable[[RunFolder], LandedFiles]) -> None:
    """A worker thought dead that is not writes into its own file, never into that of the next try."""
    slots: list[Slot] = []
    for content in (b"rows", b"others"):
        files = make(folder)
        slots.append(files.slot(piece(0)))
        fill(slots[-1], content)
        files.close()

    assert slots[0].name != slots[1].name
    assert [read(folder, slot) for slot in slots] == [b"rows", b"others"]
    assert all(slot.name.startswith("0-00000-") for slot in slots)  # for whoever looks into the folder


@pytest.mark.parametrize("make", [SharedFile, OwnObjects])
def test_nothing_is_made_before_there_are_rows(folder: RunFolder, make: Callable[[RunFolder], LandedFiles]) -> None:
    """A landing that fails leaves nothing behind."""
    files = make(folder)
    files.slot(piece(0)).close()
    files.sync()
    files.close()

    assert not Path(folder.output).exists()


def test_object_stores_get_an_object_a_piece(folder: RunFolder) -> None:
    """Whole or not there, named after the piece, in any order. (Here on a local disk; on S3 in test_run_on_s3.)"""
    files = OwnObjects(folder)
    slots = [files.slot(piece(number)) for number in range(2)]

    with pytest.raises(OSError, match="lost"):
        slots[1].fill(4, half)
    assert not Path(folder.landed_file(slots[1].name)).exists()
    fill(slots[1], b"rows")

    assert read(folder, slots[1]) == b"rows"
    assert [slot.name[:8] for slot in slots] == ["0-00000-", "0-00001-"]


def test_local_folders_share_and_object_stores_do_not(tmp_path: Path) -> None:
    """Only a disk has files that grow."""
    assert isinstance(landed_files(RunFolder(str(tmp_path))), SharedFile)
    assert isinstance(landed_files(RunFolder("memory://bucket/out")), OwnObjects)
