"""
An OpenAI-style model endpoint that answers with what it was asked, for servers that run batches against a model.

A chat or completion request is echoed; its usage counts words. A request whose text starts with ``fail:STATUS`` is
answered with that status instead, and ``sleep:SECONDS`` delays the answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import Thread
from typing import Any, cast

MODEL = "echo"
EMBEDDING_MODEL = "echo-embedding"
Wire = dict[str, Any]


@contextmanager
def model_stub(port: int = 0) -> Iterator[str]:
    """
    Serve the model on a thread of this process and yield its base address, ending in ``/v1``.

    :param port: The port, or 0 for any free one.
    """
    server = _Server(("127.0.0.1", port), _Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of callers that hang up, as a server does whose batch is cancelled."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(cast("socket", request), client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        names = (MODEL, EMBEDDING_MODEL)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "stub"} for name in names]
        self._answer(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = _asked(body)
        word, _, argument = text.split(" ")[0].partition(":")
        if word == "sleep":
            time.sleep(float(argument))
        if word == "fail":
            error = {"message": f"asked to fail with {argument}", "type": "stub_error", "code": "asked_to_fail"}
            self._answer(int(argument), {"error": error})
        else:
            self._answer(200, _completed(self.path, body, text))

    def _answer(self, status: int, payload: Wire) -> None:
        content = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: the servers under test log enough."""


def _asked(body: Wire) -> str:
    if "messages" in body:
        content = body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    asked = body.get("prompt", body.get("input", ""))
    return asked if isinstance(asked, str) else str(cast("list[object]", asked)[0])


def _completed(path: str, body: Wire, text: str) -> Wire:
    model = str(body.get("model", MODEL))
    words = len(text.split())
    usage = {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words}
    if path.endswith("/embeddings"):
        asked = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [{"object": "embedding", "index": n, "embedding": [float(n), 0.5, -0.5]} for n in range(len(asked))]
        usage = {"prompt_tokens": words, "total_tokens": words}
        return {"object": "list", "model": model, "data": vectors, "usage": usage}
    answer: Wire = {"id": "stub-1", "created": int(time.time()), "model": model, "usage": usage}
    if path.endswith("/chat/completions"):
        choice: Wire = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return answer | {"object": "chat.completion", "choices": [choice]}
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return answer | {"object": "text_completion", "choices": [choice]}
