from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_batch_provider.sandbox.errors import ApiError
from airflow_batch_provider.sandbox.files import FileRecord, FileStore
from airflow_batch_provider.sandbox.ids import Ids
from airflow_batch_provider.sandbox.uploads import MAX_FIELD_BYTES, keep_seconds_of, receive_upload
from tests.sandbox.support import FakeClock


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> FileStore:
    return FileStore(tmp_path, ids=Ids(), clock=clock, is_kept=False)


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--B\r\nContent-Disposition: form-data; name=" + name.encode() + b"\r\n\r\n" + content + b"\r\n"
        for name, content in parts
    )
    return body + b"--B--\r\n"


def receive(store: FileStore, body: bytes, *, step: int = 50_000, max_bytes: int = 10_000_000) -> FileRecord:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return asyncio.run(receive_upload("multipart/form-data; boundary=B", pieces(), store, max_bytes=max_bytes))


FILE = '"file"; filename="in.jsonl"'


@pytest.mark.parametrize("step", [7, 50_000, 10_000_000])
def test_a_large_upload_arrives_byte_for_byte(store: FileStore, step: int) -> None:
    """Whatever the pieces, the file on disk is the file that was sent."""
    content = bytes(range(256)) * (20 if step == 7 else 12_000)
    record = receive(store, form(('"purpose"', b"batch"), (FILE, content)), step=step)

    assert store.path(record).read_bytes() == content
    assert (record.size, record.filename, record.purpose) == (len(content), "in.jsonl", "batch")


def test_fields_may_follow_the_file(store: FileStore) -> None:
    """The order of the parts does not matter."""
    record = receive(store, form((FILE, b"content"), ('"purpose"', b"batch")))

    assert store.path(record).read_bytes() == b"content"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param([(FILE, b"x")], "Missing required parameter: 'purpose'", id="no purpose"),
        pytest.param([('"purpose"', b"batch")], "Missing required parameter: 'file'", id="no file"),
        pytest.param([('"purpose"', b"fun"), (FILE, b"x")], "Invalid value: 'fun'", id="purpose"),
        pytest.param([('"purpose"', b"batch"), (FILE, b"")], "File is empty", id="empty"),
        pytest.param([('"purpose"', b"batch"), ('"file"; filename="in.csv"', b"x")], "Must be .jsonl", id="not jsonl"),
        pytest.param([('"purpose"', b"x" * (MAX_FIELD_BYTES + 1))], "too long", id="long field"),
    ],
)
def test_unacceptable_uploads_are_refused(
    store: FileStore, tmp_path: Path, parts: list[tuple[str, bytes]], message: str
) -> None:
    """A refused upload says why and leaves nothing on disk."""
    with pytest.raises(ApiError, match=message) as caught:
        receive(store, form(*parts))

    assert caught.value.status == 400
    assert list(tmp_path.iterdir()) == []


def test_oversized_files_are_refused_while_they_arrive(store: FileStore, tmp_path: Path) -> None:
    """The answer is 413, and what had arrived is removed."""
    with pytest.raises(ApiError) as caught:
        receive(store, form((FILE, b"x" * 1_001)), max_bytes=1_000)

    assert caught.value.status == 413
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"not multipart", form((FILE, b"x"))[:-10]])
def test_broken_bodies_are_refused(store: FileStore, tmp_path: Path, body: bytes) -> None:
    """A body that ends early is not a file."""
    with pytest.raises(ApiError, match="Could not parse multipart form"):
        receive(store, body)

    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_file_can_be_chosen() -> None:
    """expires_after counts from the creation, in seconds."""
    assert keep_seconds_of({}) is None
    assert keep_seconds_of({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}) == 3_600


@pytest.mark.parametrize(("anchor", "seconds"), [("now", "3600"), ("created_at", "1"), ("created_at", "x")])
def test_impossible_ends_are_refused(anchor: str, seconds: str) -> None:
    """Another anchor, or less than an hour, is an error."""
    with pytest.raises(ApiError, match="Invalid value"):
        keep_seconds_of({"expires_after[anchor]": anchor, "expires_after[seconds]": seconds})
