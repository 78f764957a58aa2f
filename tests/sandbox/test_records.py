from __future__ import annotations

from pathlib import Path

import msgspec

from airflow_batch_provider.sandbox.records import RecordFolder


class Note(msgspec.Struct):
    text: str


def test_kept_records_are_found_again(tmp_path: Path) -> None:
    """What one sandbox saved the next one loads, the newest version of each."""
    folder = RecordFolder(tmp_path / "notes", Note, is_kept=True)
    folder.save("a", Note("old"))
    folder.save("a", Note("new"))
    folder.save("b", Note("gone"))
    folder.remove("b")

    assert [note.text for note in RecordFolder(tmp_path / "notes", Note, is_kept=True).load()] == ["new"]


def test_temporary_records_are_not_written(tmp_path: Path) -> None:
    """Nobody will read them, so nothing is written."""
    folder = RecordFolder(tmp_path, Note, is_kept=False)
    folder.save("a", Note("x"))
    folder.remove("a")

    assert list(tmp_path.iterdir()) == []


def test_a_crash_in_mid_write_leaves_the_old_record(tmp_path: Path) -> None:
    """A half-written file beside the record is not a record."""
    folder = RecordFolder(tmp_path, Note, is_kept=True)
    folder.save("a", Note("whole"))
    (tmp_path / "a.json.part").write_bytes(b'{"te')

    assert [note.text for note in folder.load()] == ["whole"]
