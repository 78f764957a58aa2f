"""What a download must be to count: whole, unwrapped, of the size the service says."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_batch_provider.client.errors import DOWNLOAD_BROKEN, error_from_answer
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.unwrap import Unwrapper
from airflow_batch_provider.exceptions import ApiStatusError, DownloadError, GatewayError


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
        self._unwrapper = Unwrapper() if content_type.startswith("application/json") else None

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
            raise DownloadError(
                f"{self.subject.capitalize()} arrived with {self.bytes:,} bytes, but the service says it has "
                f"{self._expected_bytes:,}. It was truncated or altered on the way, and nothing was kept. If this "
                'service reports wrong sizes, switch off "Check file sizes" in the connection.'
            )
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
    if not (settings.is_gateway and isinstance(error, GatewayError) and error.status_code == 500):
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
    if content_type.startswith(("text/", "application/json")):
        return DownloadError(
            f"The gateway's output route answered for {subject} with {content_type or 'no content type'}, which is not "
            "a file of rows. The batch may not have ended, or it failed; ask for its status."
        )
    return None
