"""A scripted service for answers that no healthy one gives; it keeps every request it sees, byte for byte."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

BATCH = {"id": "batch_1", "object": "batch", "status": "validating", "endpoint": "/v1/chat/completions"}
FILE = {"id": "file-1", "object": "file", "filename": "in.jsonl", "bytes": 3, "purpose": "batch"}


@dataclass(frozen=True)
class Seen:
    """
    One request as it arrived.

    :param method: HTTP method.
    :param target: Path and query, as on the wire.
    :param headers: Headers in lower case.
    :param body: The body, without chunk framing.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """
    One answer to give.

    :param status: HTTP status.
    :param body: The body.
    :param content_type: Its type, or None for none.
    :param headers: More headers.
    :param wait: Seconds before anything is answered.
    :param sent: Send only so many bytes of the body, then close; 0 closes without an answer.
    """

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    sent: int | None = None

    @classmethod
    def of(cls, data: Any, status: int = 200, **headers: str) -> Self:
        """
        Answer with JSON.

        :param data: What to send.
        :param status: HTTP status.
        :param headers: More headers, with ``_`` for ``-``.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(data).encode(), headers=named)

    @classmethod
    def refusal(cls, status: int, message: str, code: str | None = None, **headers: str) -> Self:
        """
        Answer with an error in OpenAI's shape.

        :param status: HTTP status.
        :param message: What is wrong.
        :param code: Machine-readable code.
        :param headers: See :meth:`of`.
        """
        error = {"message": message, "type": "some_error", "param": None, "code": code}
        return cls.of({"error": error}, status, **headers)


class Upstream(ThreadingHTTPServer):
    """
    The scripted service. What it was not told to answer it answers with 418, which nobody takes for a success.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[Seen] = []
        self.released = threading.Event()
        self._script: dict[str, list[Answer]] = {}

    @property
    def url(self) -> str:
        """Base URL with ``/v1``."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def on(self, call: str, *answers: Answer) -> None:
        """
        Say what to answer.

        :param call: Method and path below the base URL, without query: ``POST /files``.
        :param answers: Given one after the other; the last one for ever.
        """
        self._script[call] = list(answers)

    def forget(self) -> None:
        """Forget script and requests, and let go of whoever is being kept waiting."""
        self._script.clear()
        self.seen.clear()
        self.released.set()
        self.released = threading.Event()

    def calls(self) -> list[str]:
        """Say which calls came in, in order, as the script names them."""
        return [_name(seen.method, seen.target) for seen in self.seen]

    def next_answer(self, method: str, target: str) -> Answer:
        answers = self._script.get(_name(method, target))
        if not answers:
            return Answer.refusal(418, f"The script has no answer to {method} {target}.", "not_scripted")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about connections that the other side cut."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(self.command, self.path, headers, self._read_body(headers)))
        answer = self.server.next_answer(self.command, self.path)
        if answer.wait:
            self.server.released.wait(answer.wait)
        if answer.sent == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.content_type is not None:
            self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if answer.sent is None else answer.body[: answer.sent])
        if answer.sent is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the names that http.server looks for

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


def _name(method: str, target: str) -> str:
    return f"{method} {target.partition('?')[0].removeprefix('/v1')}"


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    """Run a scripted service for the length of the block."""
    with Upstream() as upstream:
        thread = threading.Thread(target=lambda: upstream.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield upstream
        finally:
            upstream.forget()
            upstream.shutdown()
            thread.join()
