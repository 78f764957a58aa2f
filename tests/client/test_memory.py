"""Large files go through in small pieces."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Self

import httpx
import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import RequestChecker
from airflow_batch_provider.core.rows import RowCounter
from tests.client.support import settings

SIZE = 64 << 20
PIECE = 1 << 16
ROW = b'{"custom_id": "a", "text": "' + b"x" * 990 + b'"}\n'
ALLOWED = 16 << 20


class Zeros:
    """A source of ``SIZE`` bytes that are made when they are read."""

    def __init__(self) -> None:
        self.left = SIZE

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return b"0" * size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Pieces(httpx.SyncByteStream):
    """A body of ``SIZE`` bytes."""

    def __init__(self, opening: bytes = b"", piece: bytes = b"y" * PIECE, closing: bytes = b"") -> None:
        self.parts = (opening, piece, closing)

    def __iter__(self) -> Iterator[bytes]:
        opening, piece, closing = self.parts
        yield opening
        for _ in range(SIZE // len(piece)):
            yield bytes(bytearray(piece))
        yield closing


class Draining(httpx.BaseTransport):
    """A network that reads uploads piece by piece and keeps nothing of them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.received = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        for piece in request.stream:
            self.received += len(piece)
        return self.answer


class Counting:
    """A target that counts."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes, /) -> None:
        self.bytes += len(data)


def peak(work: Callable[[], object]) -> int:
    """Bytes that were in use at the same time while it ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_upload_is_streamed() -> None:
    """64 MB need a few pieces of memory."""
    network = Draining(httpx.Response(200, json={"id": "file-1"}))
    with BatchClient(settings(), transport=network) as client:
        used = peak(lambda: client.upload_file(Upload(Zeros, SIZE, "in.jsonl")))

    assert SIZE < network.received < SIZE + 1_000
    assert used < ALLOWED


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("application/octet-stream", Pieces(), id="plain"),
        pytest.param(
            "application/json",
            Pieces(b'{"html-message":"', b'{\\"a\\": \\"\\u00e9\\"}\\n' * 3_000, b'"}'),
            id="wrapped",
        ),
    ],
)
def test_a_download_is_streamed(content_type: str, body: Pieces) -> None:
    """Also one that a gateway has wrapped into a single JSON string."""
    network = Draining(httpx.Response(200, stream=body, headers={"content-type": content_type}))
    target = Counting()
    with BatchClient(settings(), transport=network) as client:
        used = peak(lambda: client.download_file("f", lambda: contextlib.nullcontext(target)))

    assert target.bytes > SIZE / 2
    assert used < ALLOWED


def test_rows_are_checked_as_they_pass() -> None:
    """A result file of any size needs the memory of a piece."""

    def work() -> None:
        counter = RowCounter("f")
        block = ROW * 1_000
        for _ in range(SIZE // len(block)):
            counter.feed(block[:500_000])
            counter.feed(block[500_000:])
        counter.finish()
        assert counter.rows == SIZE // len(block) * 1_000

    assert peak(work) < ALLOWED


def test_bad_lines_are_not_kept() -> None:
    """A file of eighty thousand problems needs the memory of ten."""
    checker = RequestChecker(BatchLimits())

    assert peak(lambda: checker.feed(b'{"custom_id": "%d"}\n' % number for number in range(20_000))) < ALLOWED
    assert len(checker.problems) == 10
