"""How the blocking client sends: bodies, retries, streaming. What it sends is in ``sync.py``."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol, TypeVar

import httpx

from airflow_batch_provider.client import calls, http
from airflow_batch_provider.client.downloads import Download, iter_body, refused_download, refused_output
from airflow_batch_provider.client.multipart import Upload, upload_body
from airflow_batch_provider.client.retries import seconds_before_retry
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.wire import file_from_wire
from airflow_batch_provider.core.batches import RemoteFile
from airflow_batch_provider.exceptions import ApiError

log = logging.getLogger(__name__)
T = TypeVar("T")


class Writable(Protocol):
    """Anything with ``write(bytes)``."""

    def write(self, data: bytes, /) -> object: ...


OpenTarget = Callable[[], AbstractContextManager[Writable]]


class Sender:
    """
    Sends calls and repeats those that may be repeated.

    :param settings: The service.
    :param transport: Replaces the network in tests.
    :param sleep: Waits between tries.
    :param jitter: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._jitter = jitter
        self._http = httpx.Client(transport=transport, **http.client_options(settings))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def perform(self, call: calls.Call[T], headers: Mapping[str, str] | None = None) -> T:
        """
        Send a call, repeat it if that is allowed, return its value.

        :param call: The call.
        :param headers: Headers to override.
        """
        return self._repeat(lambda: self._once(call, headers or {}), is_repeatable=call.is_repeatable)

    def upload(self, upload: Upload) -> RemoteFile:
        """
        Send a file; a broken try starts again from the beginning.

        :param upload: The file.
        """
        return self._repeat(lambda: self._upload_once(upload))

    def download(self, call: calls.Call[Any], open_target: OpenTarget, expected_bytes: int | None) -> Download:
        """
        Fetch a file; a broken try starts again from the beginning.

        :param call: The call that answers with the file.
        :param open_target: Opens an empty target, once per try.
        :param expected_bytes: Size the file must have, or None.
        """
        return self._repeat(lambda: self._download_once(call, open_target, expected_bytes))

    def _once(self, call: calls.Call[T], headers: Mapping[str, str]) -> T:
        options = http.request_options(call)
        options["headers"] = {**options.get("headers", {}), **headers}
        return self._send(call, self._build(call.method, call.path, **options))

    def _upload_once(self, upload: Upload) -> RemoteFile:
        headers, body = upload_body(upload)
        headers |= http.headers_without_retries(self.settings)
        if self.settings.is_gateway:
            headers["x-portkey-file-purpose"] = upload.purpose
        timeout = httpx.Timeout(self.settings.upload_timeout, connect=self.settings.connect_timeout)
        call = calls.Call("POST", "/files", file_from_wire, f"the upload of {upload.filename}")
        request = self._build("POST", "/files", content=body, headers=headers, timeout=timeout)
        # No gateway-side timeout on uploads: it would count the time the file takes to arrive.
        request.headers.pop("x-portkey-request-timeout", None)
        return self._send(call, request)

    def _build(self, method: str, path: str, **options: Any) -> httpx.Request:
        with http.translated(path, self.settings):
            return self._http.build_request(method, self.settings.base_url + path, **options)

    def _send(self, call: calls.Call[T], request: httpx.Request) -> T:
        with http.translated(call.subject, self.settings):
            response = self._http.send(request, stream=True)
            body = self._read(response, call.subject)
        return http.read_answer(call, response.status_code, response.headers, body, self.settings)

    @staticmethod
    def _read(response: httpx.Response, subject: str) -> bytes:
        body = http.BoundedBody(subject)
        with closing(response):
            for chunk in response.iter_bytes():
                body.add(chunk)
        return body.content()

    def _download_once(self, call: calls.Call[Any], open_target: OpenTarget, expected_bytes: int | None) -> Download:
        request = self._build(call.method, call.path)
        with http.translated(call.subject, self.settings):
            response = self._http.send(request, stream=True)
        with closing(response):
            if not response.is_success:
                with http.translated(call.subject, self.settings):
                    body = self._read(response, call.subject)
                raise refused_download(response.status_code, response.headers, body, call.subject, self.settings)
            content_type = response.headers.get("content-type", "")
            if call.path.endswith("/output") and (error := refused_output(content_type, call.subject)):
                raise error
            download = Download(call.subject, content_type, expected_bytes)
            with open_target() as target:
                self._copy(response, download, target)
        return download

    def _copy(self, response: httpx.Response, download: Download, target: Writable) -> None:
        for chunk in self._pieces(response, download.subject):
            if piece := download.feed(chunk):
                target.write(piece)
        if piece := download.finish():
            target.write(piece)

    def _pieces(self, response: httpx.Response, subject: str) -> Iterator[bytes]:
        # Only the reading is translated: a full disk is not the service's fault.
        with http.translated(subject, self.settings):
            yield from iter_body(response)

    def _repeat(self, attempt: Callable[[], T], *, is_repeatable: bool = True) -> T:
        number = 0
        while True:
            number += 1
            try:
                return attempt()
            except ApiError as error:
                delay = seconds_before_retry(
                    error,
                    attempt=number,
                    max_retries=self.settings.max_retries,
                    is_repeatable=is_repeatable,
                    jitter=self._jitter(),
                )
                if delay is None:
                    raise
                log.warning("%s Trying again in %.1f s (%d of %d).", error, delay, number, self.settings.max_retries)
            self._sleep(delay)
