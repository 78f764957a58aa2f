"""What the tests of the sandbox share: a clock, rows, and a client that speaks the API in short words."""

from __future__ import annotations

import json
from typing import Any

import httpx

CHAT = "/v1/chat/completions"


class FakeClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def row(name: str, body: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """Return one input line; ``changes`` replace fields, and None removes one."""
    body = {"model": "any", "messages": [{"role": "user", "content": f"hello {name}"}]} if body is None else body
    fields = {"custom_id": name, "method": "POST", "url": CHAT, "body": body, **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode() + b"\n"


def rows(count: int, model: str = "any") -> bytes:
    """Return ``count`` chat lines: row-0, row-1, ..."""
    message = [{"role": "user", "content": "hello"}]
    return b"".join(row(f"row-{index}", {"model": model, "messages": message}) for index in range(count))


def lines_of(content: bytes) -> list[dict[str, Any]]:
    """Return the decoded lines of a result file."""
    return [json.loads(line) for line in content.split(b"\n") if line]


class ShortClient:
    """An HTTP client with one word per call; it raises for error answers."""

    def __init__(self, http: httpx.Client, clock: FakeClock) -> None:
        self.http = http
        self.clock = clock

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def post_file(
        self, content: bytes, *, purpose: str = "batch", name: str = "in.jsonl", **data: str
    ) -> httpx.Response:
        return self.http.post("/files", data={"purpose": purpose, **data}, files={"file": (name, content)})

    def upload(self, content: bytes, *, purpose: str = "batch") -> str:
        return str(self._json(self.post_file(content, purpose=purpose))["id"])

    def post_batch(self, **fields: Any) -> httpx.Response:
        return self.http.post("/batches", json={"endpoint": CHAT, "completion_window": "24h", **fields})

    def submit(self, content: bytes, directives: str = "", *, endpoint: str = CHAT) -> str:
        """Upload ``content``, make a batch of it and return the batch's id."""
        metadata = {"sandbox": directives} if directives else None
        answer = self.post_batch(input_file_id=self.upload(content), metadata=metadata, endpoint=endpoint)
        return str(self._json(answer)["id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self._json(self.http.get(f"/batches/{batch_id}"))

    def cancel(self, batch_id: str) -> dict[str, Any]:
        return self._json(self.http.post(f"/batches/{batch_id}/cancel"))

    def run(self, content: bytes, directives: str = "", *, endpoint: str = CHAT) -> dict[str, Any]:
        """Submit a batch, let enough time pass and return it as it ended."""
        batch_id = self.submit(content, directives, endpoint=endpoint)
        self.clock.advance(1_000)
        return self.batch(batch_id)

    def content(self, file_id: str) -> bytes:
        answer = self.http.get(f"/files/{file_id}/content")
        answer.raise_for_status()
        return answer.content

    def output(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return lines_of(self.content(batch["output_file_id"])) if batch["output_file_id"] else []

    def errors(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return lines_of(self.content(batch["error_file_id"])) if batch["error_file_id"] else []
