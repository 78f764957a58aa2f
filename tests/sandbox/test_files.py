from __future__ import annotations

from pathlib import Path

import pytest

from airflow_batch_provider.sandbox.errors import ApiError
from airflow_batch_provider.sandbox.files import FileRecord, FileStore
from airflow_batch_provider.sandbox.ids import Ids
from tests.sandbox.support import FakeClock


def store_in(folder: Path, clock: FakeClock, *, is_kept: bool = False) -> FileStore:
    return FileStore(folder, ids=Ids(1), clock=clock, is_kept=is_kept)


def add(
    store: FileStore, name: str = "a.jsonl", *, purpose: str = "batch", keep_seconds: int | None = None
) -> FileRecord:
    aside = store.path_aside()
    aside.write_bytes(name.encode())
    return store.add(aside, filename=name, purpose=purpose, keep_seconds=keep_seconds)


def test_a_file_is_shown_as_openai_shows_it(tmp_path: Path, clock: FakeClock) -> None:
    """Every field of OpenAI's file object is there."""
    record = add(store_in(tmp_path, clock))

    assert record.to_wire() == {
        "id": record.id,
        "object": "file",
        "bytes": 7,
        "created_at": 1_700_000_000,
        "expires_at": None,
        "filename": "a.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }


def test_deleted_files_are_unknown(tmp_path: Path, clock: FakeClock) -> None:
    """After a delete neither record nor content is left."""
    store = store_in(tmp_path, clock)
    record = add(store)
    store.delete(record.id)

    with pytest.raises(ApiError, match="No such File object"):
        store.get(record.id)
    assert list(tmp_path.iterdir()) == []


def test_files_expire(tmp_path: Path, clock: FakeClock) -> None:
    """A file with an end is there until then."""
    store = store_in(tmp_path, clock)
    record = add(store, keep_seconds=3_600)
    clock.advance(3_599)
    assert store.get(record.id).expires_at == 1_700_003_600

    clock.advance(1)

    assert store.all() == []
    with pytest.raises(ApiError):
        store.get(record.id)


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_join_up(tmp_path: Path, clock: FakeClock, newest_first: bool) -> None:
    """Page by page every file comes once, in order, whichever order that is."""
    store = store_in(tmp_path, clock)
    ids = [add(store).id for _ in range(5)]
    add(store, purpose="vision")
    found: list[str] = []
    more, after = True, None
    while more:
        page, more = store.select(after=after, limit=2, purpose="batch", newest_first=newest_first)
        found += [record.id for record in page]
        after = found[-1]

    assert found == (ids[::-1] if newest_first else ids)


def test_kept_files_survive_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    """A store in the same folder knows the files, goes on counting, and never gives an id twice."""
    first = add(store_in(tmp_path, clock, is_kept=True), "old.jsonl")
    reopened = store_in(tmp_path, clock, is_kept=True)
    second = add(reopened, "new.jsonl")

    assert [record.filename for record in reopened.all()] == ["old.jsonl", "new.jsonl"]
    assert reopened.path(first).read_bytes() == b"old.jsonl"
    assert first.id != second.id


def test_unfinished_uploads_are_swept_away(tmp_path: Path, clock: FakeClock) -> None:
    """What a killed sandbox was receiving is gone after the next start."""
    store_in(tmp_path, clock, is_kept=True).path_aside().write_bytes(b"half")
    store_in(tmp_path, clock, is_kept=True)

    assert list(tmp_path.iterdir()) == []
