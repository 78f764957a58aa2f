"""Large plain bodies are read from the connection itself; nothing may get lost on that way."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings, downloads
from airflow_batch_provider.exceptions import ApiConnectionError

CONTENT = bytes(range(256)) * 20_000  # 5 MB


@contextmanager
def raw_server(*answers: bytes, stays_open: bool = False) -> Iterator[str]:
    """Answers each connection with the next of the given bytes, then closes it."""
    done = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if stays_open:
                    done.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        done.set()
        thread.join()
        listener.close()


def answer(content: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/octet-stream", *headers]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def fetch(url: str, *, timeout: float = 5.0, max_retries: int = 0) -> bytes:
    received = [io.BytesIO()]

    def open_target() -> nullcontext[io.BytesIO]:
        received[0] = io.BytesIO()
        return nullcontext(received[0])

    settings = ServiceSettings(base_url=url, timeout=timeout, max_retries=max_retries)
    with BatchClient(settings, sleep=lambda _: None) as client:
        client.download_file("file-1", open_target)
    return received[0].getvalue()


@pytest.fixture
def direct_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pieces that were read directly."""
    sizes: list[int] = []
    read = downloads._read_directly

    def counting(*args: object) -> bytes:
        piece = read(*args)  # type: ignore[arg-type]
        sizes.append(len(piece))
        return piece

    monkeypatch.setattr(downloads, "_read_directly", counting)
    return sizes


def test_a_large_plain_body_arrives_whole(direct_reads: list[int]) -> None:
    """What httpx had read ahead and what comes straight from the connection make up the file, byte for byte."""
    with raw_server(answer(CONTENT, length=len(CONTENT))) as url:
        assert fetch(url) == CONTENT
    assert 0 < sum(direct_reads) < len(CONTENT)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(answer(CONTENT), id="no length"),
        pytest.param(
            answer(b"%x\r\n" % len(CONTENT) + CONTENT + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), id="chunked"
        ),
        pytest.param(answer(CONTENT[:2000], length=2000), id="small"),
    ],
)
def test_other_bodies_stay_with_httpx(raw: bytes, direct_reads: list[int]) -> None:
    """Only a large body of known length, sent as it is, is read directly."""
    with raw_server(raw) as url:
        assert CONTENT.startswith(fetch(url))
    assert direct_reads == []


def test_a_large_body_that_is_cut_off_is_an_error(direct_reads: list[int]) -> None:
    """A connection that closes before the announced length is a broken answer, not a shorter file."""
    with raw_server(answer(CONTENT, length=len(CONTENT) + 1_000)) as url, pytest.raises(ApiConnectionError):
        fetch(url)
    assert direct_reads


def test_a_large_body_that_was_cut_off_is_fetched_again(direct_reads: list[int]) -> None:
    """The second try starts from the beginning, on another connection."""
    cut, whole = answer(CONTENT[:-1], length=len(CONTENT)), answer(CONTENT, length=len(CONTENT))
    with raw_server(cut, whole) as url:
        assert fetch(url, max_retries=1) == CONTENT
    assert direct_reads


def test_a_large_body_that_stops_coming_times_out(direct_reads: list[int]) -> None:
    """The connection's timeout holds for direct reads too."""
    raw = answer(CONTENT, length=len(CONTENT) + 1_000)
    with raw_server(raw, stays_open=True) as url, pytest.raises(ApiConnectionError, match="ReadTimeout"):
        fetch(url, timeout=0.2)
    assert direct_reads


def test_a_reset_in_a_large_body_is_our_error() -> None:
    """What the network stream raises is translated like httpx's own exceptions."""

    class Broken:
        def read(self, size: int, timeout: float | None = None) -> bytes:
            import httpcore

            raise httpcore.ReadError("[Errno 104] Connection reset by peer")

    with pytest.raises(httpx.ReadError, match="reset by peer"):
        downloads._read_directly(Broken(), 10, None)  # type: ignore[arg-type]
