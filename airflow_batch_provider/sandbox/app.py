"""The whole sandbox as one ASGI application."""

from __future__ import annotations

import asyncio
import hmac
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_batch_provider.sandbox.batches import BatchStore
from airflow_batch_provider.sandbox.batches_api import BatchesApi
from airflow_batch_provider.sandbox.control_api import ControlApi
from airflow_batch_provider.sandbox.errors import ApiError, invalid_api_key
from airflow_batch_provider.sandbox.faults import Faults
from airflow_batch_provider.sandbox.files import FileStore
from airflow_batch_provider.sandbox.files_api import FilesApi
from airflow_batch_provider.sandbox.http import JsonAnswer, route_name
from airflow_batch_provider.sandbox.ids import Ids
from airflow_batch_provider.sandbox.interference import TRANSPORT, transport_behind, with_faults
from airflow_batch_provider.sandbox.settings import Settings

API_PREFIX = "/v1/"
WORKERS = 2


class Sandbox:
    """
    A sandbox without a server: an ASGI application and what is known about it.

    :param settings: What shapes it.
    :param log: True to write one line per request to stderr.
    """

    def __init__(self, settings: Settings, *, log: bool = False) -> None:
        self.settings = settings
        self.faults = Faults(settings.seed)
        self.calls: Counter[str] = Counter()
        self._log = log
        self._ids = Ids(settings.seed)
        self._temporary = tempfile.TemporaryDirectory(prefix="sandbox-") if settings.directory is None else None
        folder = Path(self._temporary.name) if self._temporary else settings.directory or Path()
        self._files = FileStore(
            folder / "files", ids=self._ids, clock=settings.clock, is_kept=settings.directory is not None
        )
        self._batches = BatchStore(folder / "batches", files=self._files, ids=self._ids, settings=settings)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="sandbox")
        self._api = self._build()

    def _build(self) -> ASGIApp:
        settings = self.settings
        files = FilesApi(self._files, max_bytes=settings.limits.max_file_bytes)
        batches = BatchesApi(self._batches, self._files, workers=self._workers, patience=settings.effective_patience)
        control = ControlApi(self.faults, self.state)
        return Starlette(
            routes=[*files.routes(), *batches.routes(), *control.routes()],
            exception_handlers={
                ApiError: _answer_api_error,
                HTTPException: _answer_unknown_route,
                ClientDisconnect: _answer_nobody,
            },
        )

    def __repr__(self) -> str:
        return f"<Sandbox [{len(self._files.all())} files, {len(self._batches.all())} batches]>"

    def stop_work(self) -> None:
        """Make the work in progress end soon; usable from any thread."""
        self._batches.close()

    def close(self) -> None:
        """Stop the work in progress and remove what is temporary."""
        self.stop_work()
        self._workers.shutdown(cancel_futures=True)
        if self._temporary:
            self._temporary.cleanup()

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch there ever was, oldest first, as the API would show it now."""
        return [self._batches.to_wire(self._batches.settle(record.id)) for record in self._batches.all()]

    def files(self) -> list[dict[str, Any]]:
        """Return every file there is, oldest first, as the API would show it now."""
        return [record.to_wire() for record in self._files.all()]

    def state(self) -> dict[str, Any]:
        """Return calls, files and batches, without doing any work that is due."""
        batches = [self._batches.to_wire(record) for record in self._batches.all()]
        return {"calls": dict(self.calls), "files": self.files(), "batches": batches}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        scope[TRANSPORT] = transport_behind(send)
        answer = _Answer(send, self._ids.request())
        try:
            await self._route(scope, receive, answer)
        except asyncio.CancelledError:
            # The server is going down and has closed the connection; letting this through would print a traceback.
            if scope[TRANSPORT] is None or not scope[TRANSPORT].is_closing():
                raise
        if self._log:
            took = (time.perf_counter() - started) * 1000
            print(f"{scope['method']} {scope['path']} {answer.status or 'dropped'} {took:.0f} ms", file=sys.stderr)

    async def _route(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if scope["path"].startswith(API_PREFIX):
            await self._answer_api_call(scope, receive, answer)
        else:
            await self._api(scope, receive, answer)

    async def _answer_api_call(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        route = route_name(scope["method"], scope["path"])
        self.calls[route] += 1
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        await with_faults(self._authorised, self.faults.draw(route))(scope, receive, answer)

    async def _authorised(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._has_key(scope):
            await self._api(scope, receive, send)
        else:
            error = invalid_api_key()
            await JsonAnswer(error.to_wire(), status_code=error.status)(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        if self.settings.api_key is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self.settings.api_key}".encode())


class _Answer:
    """A ``send`` that marks every answer with the request's id and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status: int | None = None
        self._send = send
        self._request_id = request_id.encode()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self._request_id)]}
        await self._send(message)


async def _answer_api_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return JsonAnswer(error.to_wire(), status_code=error.status)


async def _answer_unknown_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    words = f"Invalid URL ({request.method} {request.url.path})"
    return JsonAnswer(ApiError(status, words).to_wire(), status_code=status)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    # The client left in the middle of its request; this goes nowhere and keeps tracebacks out of the log.
    return Response(status_code=400)


def create_app(settings: Settings | None = None) -> Sandbox:
    """
    Return a sandbox as a bare ASGI application, to be called without a server.

    :param settings: What shapes it; close it when it is no longer needed.
    """
    return Sandbox(settings or Settings())
