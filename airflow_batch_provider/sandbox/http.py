"""The few things all routes share: JSON answers, bounded bodies, streamed files, names of routes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from airflow_batch_provider.sandbox.errors import ApiError

MAX_JSON_BYTES = 1024 * 1024
READ_BYTES = 1024 * 1024
UNKNOWN_ROUTE = "*unknown*"

_FILE = r"/v1/files/[^/]+"
_BATCH = r"/v1/batches/[^/]+"
_ROUTES = (
    (re.compile(r"/v1/files"), "/files"),
    (re.compile(_FILE), "/files/{id}"),
    (re.compile(_FILE + "/content"), "/files/{id}/content"),
    (re.compile(r"/v1/batches"), "/batches"),
    (re.compile(_BATCH), "/batches/{id}"),
    (re.compile(_BATCH + "/cancel"), "/batches/{id}/cancel"),
)


def route_name(method: str, path: str) -> str:
    """
    Return what ``server.calls`` and faults call a route, such as ``GET /files/{id}``.

    :param method: The request's method.
    :param path: Its path.
    """
    template = next((template for pattern, template in _ROUTES if pattern.fullmatch(path)), UNKNOWN_ROUTE)
    return f"{method} {template}"


class JsonAnswer(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return msgspec.json.encode(content)


class FileAnswer(Response):
    """
    A file's content, read from disk in large pieces off the event loop.

    :param path: The file.
    :param size: Its length.
    :param content_type: What it is served as.
    """

    def __init__(self, path: Path, *, size: int, content_type: str) -> None:
        super().__init__(headers={"content-length": str(size), "content-type": content_type})
        self._path = path

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the file."""
        # Opened before the answer starts: once open, the file may be deleted without harm.
        with self._path.open("rb", buffering=0) as file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(request: Request) -> bytes:
    """
    Return a request's body, which has to be small.

    :param request: The request.
    :raises ApiError: the body is too large to be meant for this route.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_JSON_BYTES:
            raise ApiError(413, f"The request body is larger than {MAX_JSON_BYTES} bytes.")
    return bytes(body)
