from __future__ import annotations

import pytest

from airflow_batch_provider.sandbox.multipart import (
    MAX_HEADER_BYTES,
    MultipartError,
    MultipartReader,
    PartData,
    PartStart,
    boundary_of,
)

TRICKY = b"line\r\n--B not yet\r\n-\r\n--\r\n\r\nend\r"
BODY = (
    b"ignored preamble\r\n--BOUND\r\n"
    b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--BOUND\r\n'
    b'content-disposition: form-data; name="file"; filename="a \\"b\\".jsonl"\r\nContent-Type: text/plain\r\n\r\n'
    + TRICKY
    + b"\r\n--BOUND\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--BOUND--\r\nignored epilogue"
)


def parts_of(body: bytes, step: int) -> list[tuple[str, str | None, bytes]]:
    reader = MultipartReader(b"BOUND")
    parts: list[tuple[str, str | None, bytes]] = []
    for start in range(0, len(body), step):
        for event in reader.feed(body[start : start + step]):
            if isinstance(event, PartStart):
                parts.append((event.name, event.filename, b""))
            elif isinstance(event, PartData):
                name, filename, data = parts[-1]
                parts[-1] = (name, filename, data + bytes(event.data))
    reader.finish()
    return parts


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 11, 64, 10_000])
def test_pieces_of_any_size_give_the_same_parts(step: int) -> None:
    """How the body is cut into pieces does not matter, not even in the middle of a boundary."""
    expected = [("purpose", None, b"batch"), ("file", 'a "b".jsonl', TRICKY), ("empty", None, b"")]

    assert parts_of(BODY, step) == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data; boundary=abc; x=y", b"abc"),
    ],
)
def test_the_boundary_is_read_from_the_header(content_type: str, expected: bytes) -> None:
    """Quoted or not, wherever it stands."""
    assert boundary_of(content_type) == expected


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
def test_other_content_types_are_refused(content_type: str) -> None:
    """Without multipart or without a boundary there is nothing to read."""
    with pytest.raises(MultipartError):
        boundary_of(content_type)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY[:-60], id="ends early"),
        pytest.param(b"", id="empty"),
        pytest.param(b"--BOUNDxx", id="no line end after the boundary"),
        pytest.param(b"--BOUND\r\nX: y\r\n\r\n", id="no disposition"),
        pytest.param(b'--BOUND\r\nContent-Disposition: form-data; filename="x"\r\n\r\n', id="no name"),
        pytest.param(b"--BOUND\r\n" + b"x" * (MAX_HEADER_BYTES + 1), id="endless headers"),
    ],
)
def test_broken_bodies_are_refused(body: bytes) -> None:
    """A body that breaks the format is an error, never a part."""
    with pytest.raises(MultipartError):
        parts_of(body, 1000)


def test_memory_does_not_grow_with_the_file() -> None:
    """The reader keeps no more than a piece of a boundary between two calls."""
    reader = MultipartReader(b"BOUND")
    list(reader.feed(b'--BOUND\r\nContent-Disposition: form-data; name="file"\r\n\r\n'))
    for _ in range(10):
        list(reader.feed(b"x" * 100_000))

    assert len(reader._buffer) < len(b"\r\n--BOUND")
