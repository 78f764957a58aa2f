from __future__ import annotations

import io
from collections.abc import Iterator

import httpcore
import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings, errors
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    DownloadError,
    GatewayError,
    NotFoundError,
    ServerError,
)
from tests.client.support import FakeService, Target, client_of, gateway, settings
from tests.client.test_unwrap import wrap

ROWS = b'{"custom_id": "a"}\n'
BROKEN = {"status": "failure", "message": "Something went wrong"}


def octets(content: bytes, content_type: str = "application/octet-stream", status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=content, headers={"content-type": content_type})


def download(
    *answers: object, expected: int | None = None, using: ServiceSettings | None = None
) -> tuple[Target, FakeService]:
    """Download file-A with these answers."""
    service, target = FakeService(*answers), Target()
    client, _ = client_of(service, using=using)
    found = client.download_file("file-A", target.open, expected_bytes=expected)
    assert found.bytes == len(target.content or b"")
    return target, service


class Network(httpx.BaseTransport):
    """Answers one after the other, as streams."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.answers.pop(0)


class FakeStream:
    """A connection as httpcore gives it: bytes, then nothing or an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)

    def read(self, size: int, timeout: float | None = None) -> bytes:
        assert size > 0
        assert timeout == 60
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece[:size]


def test_a_file_arrives() -> None:
    """Byte for byte, in one try, by its id."""
    target, service = download(octets(ROWS), expected=len(ROWS))

    assert (target.content, target.tries) == (ROWS, 1)
    assert service.calls == ["GET /v1/files/file-A/content"]


@pytest.mark.parametrize(
    "content_type", ["application/jsonl", "text/plain", "application/json", "", "APPLICATION/JSON; x"]
)
def test_the_content_type_decides_nothing(content_type: str) -> None:
    """Servers name the same file in many ways."""
    assert download(octets(ROWS, content_type))[0].content == ROWS


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=UTF-8", "Application/Json"])
def test_a_wrapped_file_is_unwrapped(content_type: str) -> None:
    """The size is that of the file, not of the wrapping."""
    body = wrap(ROWS.decode() * 3)

    assert download(octets(body, content_type), expected=len(ROWS) * 3)[0].content == ROWS * 3


def test_a_file_of_no_bytes_is_a_file() -> None:
    """OGX names one for every clean batch."""
    assert download(octets(b""), expected=0)[0].content == b""


def test_a_short_file_is_fetched_again_from_the_beginning() -> None:
    """A cut in mid-row or between rows is found by the size, and nothing of the first try is kept."""
    target, service = download(octets(ROWS), octets(ROWS * 2), expected=2 * len(ROWS))

    assert (target.content, target.tries) == (ROWS * 2, 2)
    assert "range" not in service.requests[1].headers


def test_a_file_that_stays_short_is_an_error_that_names_it() -> None:
    """The id as it is, both sizes, and what to do when the service counts wrongly; nothing was kept."""
    target = Target()
    client, pauses = client_of(FakeService(octets(ROWS)))
    with pytest.raises(DownloadError) as caught:
        client.download_file("file-ABC", target.open, expected_bytes=99)

    assert str(caught.value).startswith("File file-ABC arrived with 19 bytes, but the service says it has 99.")
    assert 'switch off "Check file sizes"' in str(caught.value)
    assert (target.content, target.tries, len(pauses)) == (None, 6, 5)


@pytest.mark.parametrize(
    "error", [httpx.RemoteProtocolError("cut"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")]
)
def test_a_download_that_breaks_off_starts_again(error: Exception) -> None:
    """The body's end is missing in one way or another."""

    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield ROWS
            raise error

    target = Target()
    network = Network(httpx.Response(200, stream=Cut()), octets(ROWS * 2))
    BatchClient(settings(), transport=network, sleep=lambda _: None).download_file("f", target.open)

    assert (target.content, target.tries) == (ROWS * 2, 2)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param((), id="closed"),
        pytest.param((httpcore.ReadTimeout("slow"),), id="too-slow"),
        pytest.param((httpcore.ReadError("reset"),), id="reset"),
    ],
)
def test_a_large_download_that_breaks_off_starts_again(end: tuple[Exception, ...]) -> None:
    """Large bodies are read from the connection itself, where errors have other names."""
    content = b"x" * (3 << 20)

    def answer(*pieces: bytes | Exception) -> httpx.Response:
        connection = {"network_stream": FakeStream(*pieces), "http_version": b"HTTP/1.1"}
        headers = {"content-length": str(len(content))}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(content[:1000]), extensions=connection)

    rest = [content[start : start + 100_000] for start in range(1_000, len(content), 100_000)]
    target = Target()
    network = Network(answer(rest[0], *end), answer(*rest))
    found = BatchClient(settings(), transport=network, sleep=lambda _: None).download_file("f", target.open)

    assert target.content == content
    assert (found.bytes, target.tries) == (len(content), 2)


@pytest.mark.parametrize("content", [b"{", b'{"html-'])
def test_the_end_of_a_tiny_file_is_not_held_back(content: bytes) -> None:
    """What might have become a wrapping is written when the file ends."""
    assert download(octets(content, "application/json"))[0].content == content


def test_a_full_disk_is_not_the_services_fault() -> None:
    """Our own errors are raised as they are, at once."""

    class FullDisk(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    client, pauses = client_of(FakeService(octets(ROWS)))
    with pytest.raises(OSError, match="No space left"):
        client.download_file("f", FullDisk)

    assert pauses == []


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (302, Exception)])
def test_refusals_are_not_repeated(status: int, kind: type[Exception]) -> None:
    """An unknown file stays unknown, and no target is opened for it."""
    target = Target()
    client, pauses = client_of(FakeService(octets(b"", status=status)))
    with pytest.raises(kind):
        client.download_file("file-A", target.open)

    assert (target.tries, pauses) == (0, [])


def test_an_outage_is_waited_out() -> None:
    """503 and then the file."""
    assert download(octets(b"", status=503), httpx.ConnectError("no"), octets(ROWS))[0].content == ROWS


def test_the_gateways_broken_download_is_explained() -> None:
    """A plain install of the gateway answers every download with this 500; the message names the cause and the cure."""
    answer = httpx.Response(500, json=BROKEN, headers={"x-portkey-gateway-exception": "true", "x-request-id": "r"})
    client, _ = client_of(FakeService(answer), using=gateway())
    with pytest.raises(GatewayError, match=r"issue 1389; pin @hono/node-server.*nothing is lost") as caught:
        client.download_file("file-A", Target().open)

    assert caught.value.code == errors.DOWNLOAD_BROKEN
    assert caught.value.request_id == "r"


def test_other_faults_of_a_gateway_keep_their_words() -> None:
    """Only the known 500 has the known causes, and only a gateway has them."""
    for answer, using in (
        (httpx.Response(503, json={"error": {"message": "later"}}), gateway()),
        (httpx.Response(500, json={"error": {"message": "later"}}), gateway()),
        (httpx.Response(500, json=BROKEN), settings()),
    ):
        client, _ = client_of(FakeService(answer), using=using)
        with pytest.raises((ServerError, GatewayError)) as caught:
            client.download_file("file-A", Target().open)
        assert "1389" not in str(caught.value)


def output(answer: httpx.Response) -> Target:
    target = Target()
    client_of(FakeService(answer), using=gateway())[0].get_batch_output("arn%3Ab", target.open)
    return target


def test_the_output_route_gives_rows() -> None:
    """For services without usable output files."""
    assert output(octets(ROWS)).content == ROWS


@pytest.mark.parametrize("content_type", ["text/plain", "Text/Plain;charset=UTF-8", "application/json"])
def test_errors_that_look_like_output_are_refused(content_type: str) -> None:
    """For a failed batch the gateway answers 200 with the errors as text."""
    with pytest.raises(
        DownloadError, match=rf"the output of batch arn%3Ab with {content_type}, which is not a file of rows"
    ):
        output(octets(b'{"errors": []}', content_type))


def test_a_service_that_never_answers_is_given_up() -> None:
    """After the tries of the connection."""
    client, pauses = client_of(FakeService(httpx.ConnectError("refused")), using=settings(extra={"max_retries": 2}))
    with pytest.raises(ApiConnectionError):
        client.download_file("f", Target().open)

    assert len(pauses) == 2
