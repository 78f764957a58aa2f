"""What a download must be to count: whole, unwrapped, of the size the service says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpcore
import httpx

from airflow_batch_provider.client.errors import DOWNLOAD_BROKEN, NO_REASON, error_from_answer
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.unwrap import Unwrapper
from airflow_batch_provider.exceptions import ApiStatusError, DownloadError, GatewayError

DIRECT_READ_BYTES = 256 * 1024
DIRECT_FROM_BYTES = 1 << 20


class Download:
    """
    One file on its way in: feed the pieces of the body, write what comes out, finish.

    :param subject: Which file, for error texts.
    :param content_type: Content type of the answer; a gateway wraps some files in JSON.
    :param expected_bytes: Size the file must have, or None.
    """

    def __init__(self, subject: str, content_type: str, expected_bytes: int | None) -> None:
        self.subject = subject
        self.bytes = 0
        self._expected_bytes = expected_bytes
        self._unwrapper = Unwrapper() if content_type.lower().startswith("application/json") else None

    def feed(self, chunk: bytes) -> bytes:
        """
        Take the next piece of the body.

        :param chunk: Bytes as received.
        :returns: Bytes of the file.
        """
        piece = self._unwrapper.feed(chunk) if self._unwrapper else chunk
        self.bytes += len(piece)
        return piece

    def finish(self) -> bytes:
        """
        Say that the body has ended.

        :returns: The last bytes of the file.
        :raises DownloadError: The file does not have the size the service reports.
        """
        piece = self._unwrapper.finish() if self._unwrapper else b""
        self.bytes += len(piece)
        if self._expected_bytes is not None and self.bytes != self._expected_bytes:
            subject = self.subject[:1].upper() + self.subject[1:]
            raise DownloadError(
                f"{subject} arrived with {self.bytes:,} bytes, but the service says it has "
                f"{self._expected_bytes:,}. It was truncated or altered on the way, and nothing was kept. If this "
                'service reports wrong sizes, switch off "Check file sizes" in the connection.'
            )
        return piece


def iter_body(response: httpx.Response) -> Iterator[bytes]:
    """
    The body of an answer, piece by piece.

    A large plain body of known length is read from the connection itself (httpx's ``network_stream``) after its first
    piece: on the usual way every byte is copied five times, and a piece of TLS is 16 KB, so that this work and not the
    network sets the speed (docs/benchmarks.md). Such a connection is closed with the answer.

    :param response: An answer whose body was not touched yet.
    :raises httpx.TransportError: The body broke off, or came too slowly.
    """
    left = _plain_length(response)
    pieces = response.iter_bytes()
    for piece in pieces:
        yield piece
        left -= len(piece)
        if left > DIRECT_FROM_BYTES:
            break  # The first piece was all that httpx had read ahead.
    else:
        return
    stream = response.extensions["network_stream"]
    timeout = response.request.extensions.get("timeout", {}).get("read")
    while left > 0:
        piece = _read_directly(stream, min(left, DIRECT_READ_BYTES), timeout)
        left -= len(piece)
        yield piece


def _plain_length(response: httpx.Response) -> int:
    """Bytes still to come when nothing but them is on the connection; 0 when that is not sure."""
    headers = response.headers
    length = headers.get("content-length", "")
    is_plain = (
        "network_stream" in response.extensions
        and response.http_version == "HTTP/1.1"
        and "transfer-encoding" not in headers
        and headers.get("content-encoding", "identity") == "identity"
        and length.isdecimal()
    )
    return int(length) if is_plain else 0


def _read_directly(stream: httpcore.NetworkStream, size: int, timeout: float | None) -> bytes:
    try:
        piece = stream.read(size, timeout=timeout)
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error)) from error
    if not piece:
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
    return piece


def refused_download(
    status: int, headers: Mapping[str, str], body: bytes, subject: str, settings: ServiceSettings
) -> ApiStatusError:
    """
    Build the exception for a download that was answered with an error.

    :param status: HTTP status.
    :param headers: Answer headers.
    :param body: Answer body.
    :param subject: Which file.
    :param settings: The service.
    """
    error = error_from_answer(status, headers, body, subject, settings)
    if not (settings.is_gateway and error.code == NO_REASON and error.status_code == 500):
        return error
    return GatewayError(
        f"The gateway could not pass on {subject} (500: {error.said}). Two causes are known: the gateway was "
        "installed with @hono/node-server 1.14.2 or newer, which breaks every download (Portkey-AI/gateway issue 1389; "
        "pin @hono/node-server to 1.13.5); or the service behind it sends files with another content type than "
        "application/octet-stream. The file is still at the service; nothing is lost.",
        status,
        DOWNLOAD_BROKEN,
        error.request_id,
    )


def refused_output(content_type: str, subject: str) -> DownloadError | None:
    """
    Check the answer of the output route: for a failed batch the gateway answers 200 with the errors as text.

    :param content_type: Content type of the answer.
    :param subject: Which batch.
    """
    if content_type.lower().startswith(("text/", "application/json")):
        return DownloadError(
            f"The gateway's output route answered for {subject} with {content_type or 'no content type'}, which is not "
            "a file of rows. The batch may not have ended, or it failed; ask for its status."
        )
    return None
