"""One walk through a server's files and batches that writes down what was seen on the wire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

CHAT = "/v1/chat/completions"
TERMINAL = {"completed", "failed", "expired", "cancelled"}
HEADERS_SHOWN = ("content-type", "content-length", "transfer-encoding", "retry-after", "x-portkey-gateway-exception")
POLL_SECONDS = 0.05
END_SECONDS = 60.0
Wire = dict[str, Any]


@dataclass
class Walk:
    """
    A client that asks, and the notes it takes.

    :param http: Sends to the server's base address.
    :param model: The model named in requests.
    :param create_headers: Sent with each creation of a batch, for servers that are steered by headers.
    :param say: Receives each note as it is made.
    """

    http: httpx.Client
    model: str
    create_headers: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = print

    def note(self, point: str, seen: object) -> None:
        """
        Write one thing down.

        :param point: What was looked at.
        :param seen: A response, or any value.
        """
        if isinstance(seen, httpx.Response):
            shown = {name: seen.headers[name] for name in HEADERS_SHOWN if name in seen.headers}
            seen = f"{seen.status_code} {shown} {seen.text[:700]!r}"
        self.say(f"- {point}: {seen}")

    def ask(self, method: str, path: str, **other: Any) -> httpx.Response:
        """Send a request; when a connection breaks on the way, write that down and send it once more."""
        try:
            answer = self.http.request(method, path, **other)
        except httpx.TransportError as error:
            broken: object = repr(error)
        else:
            if "ECONNRESET" not in answer.text:
                return answer
            broken = answer
        self.note(f"{method} {path}, on the connection of the request before", broken)
        return self.http.request(method, path, **other)

    def upload(self, content: bytes, purpose: str = "batch", name: str = "in.jsonl") -> httpx.Response:
        """Send a file, the purpose first, as the OpenAI clients do."""
        return self.ask("POST", "/files", data={"purpose": purpose}, files={"file": (name, content)})

    def create(self, input_file_id: str, **other: object) -> httpx.Response:
        """Create a batch; keyword arguments replace or add fields of the body."""
        body = {"input_file_id": input_file_id, "endpoint": CHAT, "completion_window": "24h"} | other
        return self.ask("POST", "/batches", json=body, headers=self.create_headers)

    def started(self, texts: Sequence[str], **other: object) -> Wire:
        """Upload one chat request per text and create a batch of them."""
        return _object(self.create(_object(self.upload(self.lines(texts)))["id"], **other))

    def lines(self, texts: Sequence[str]) -> bytes:
        """Return a chat request per text, as the lines of an input file."""
        messages = ([{"role": "user", "content": text}] for text in texts)
        bodies = ({"model": self.model, "messages": message} for message in messages)
        requests = ({"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": b} for n, b in enumerate(bodies))
        return b"".join(json.dumps(request).encode() + b"\n" for request in requests)

    def ended(self, batch_id: str) -> tuple[Wire, list[str]]:
        """Wait for the end of a batch; return it and the different statuses seen on the way."""
        statuses: list[str] = []
        deadline = time.monotonic() + END_SECONDS
        while True:
            batch = _object(self.ask("GET", f"/batches/{batch_id}"))
            if batch["status"] not in statuses:
                statuses.append(batch["status"])
            if batch["status"] in TERMINAL or time.monotonic() > deadline:
                return batch, statuses
            time.sleep(POLL_SECONDS)


def walk_all(walk: Walk) -> None:
    """
    Take every step.

    :param walk: With a client for the server to look at.
    """
    for step in (_happy_path, _partly_failed, _lists, _cancelling, _deleting, _unknown_ids, _refusals):
        walk.say(f"\n## {step.__name__.strip('_').replace('_', ' ')}")
        step(walk)


def _happy_path(walk: Walk) -> None:
    content = walk.lines(["Grüße 1", "two\u2028words", "three"])
    uploaded = walk.upload(content)
    walk.note(f"upload of {len(content)} bytes", uploaded)
    file_id = _object(uploaded)["id"]
    walk.note("GET input file", walk.ask("GET", f"/files/{file_id}"))
    back = walk.ask("GET", f"/files/{file_id}/content")
    walk.note("GET input content", f"{back.status_code}, same bytes: {back.content == content}")
    created = walk.create(file_id, metadata={"run": "a b/ü", "shard": "0"}, unknown_field=1)
    walk.note("create", created)
    batch_id = _object(created)["id"]
    time.sleep(1)
    page = _object(walk.ask("GET", "/batches"))
    walk.note("status by list after 1 s, never retrieved", [b["status"] for b in page["data"] if b["id"] == batch_id])
    batch, statuses = walk.ended(batch_id)
    walk.note("statuses", statuses)
    walk.note("ended batch", json.dumps(batch))
    for kind in ("output_file_id", "error_file_id"):
        _look_at_file(walk, kind, batch.get(kind))


def _look_at_file(walk: Walk, kind: str, file_id: str | None) -> None:
    if not file_id:
        walk.note(kind, repr(file_id))
        return
    walk.note(kind, walk.ask("GET", f"/files/{file_id}"))
    answer = walk.ask("GET", f"/files/{file_id}/content")
    walk.note(f"{kind} content", answer)
    walk.note(f"{kind} real bytes", f"{len(answer.content)}, the last one {answer.content[-1:]!r}")
    ranged = walk.ask("GET", f"/files/{file_id}/content", headers={"Range": "bytes=0-9"})
    walk.note(f"{kind} content, Range 0-9", f"{ranged.status_code}, {len(ranged.content)} bytes")
    lines = answer.content.split(b"\n") if answer.is_success else []
    rows = [json.loads(line) for line in lines if line]
    walk.note(f"{kind} custom_ids", [row["custom_id"] for row in rows])
    bodies = [(row.get("response") or {}).get("body") for row in rows]
    walk.note(f"{kind} body types", sorted({type(body).__name__ for body in bodies}))


def _partly_failed(walk: Walk) -> None:
    batch, _ = walk.ended(walk.started(["fine", "fail:400 now", "fail:500 now"])["id"])
    walk.note("request_counts", batch.get("request_counts"))
    for kind in ("output_file_id", "error_file_id"):
        _look_at_file(walk, kind, batch.get(kind))


def _lists(walk: Walk) -> None:
    for batch_id in [walk.started(["x"])["id"] for _ in range(3)]:
        walk.ended(batch_id)
    for kind in ("batches", "files"):
        first = walk.ask("GET", f"/{kind}", params={"limit": 2})
        page = _object(first)
        walk.note(f"GET /{kind}?limit=2 keys", {key: value for key, value in page.items() if key != "data"})
        dates = [item["created_at"] for item in _object(walk.ask("GET", f"/{kind}"))["data"]]
        walk.note(f"{kind} newest first", dates == sorted(dates, reverse=True))
        walk.note(f"{kind}, page by page", _paged(walk, kind))
        for query in ("after=nonsense", "limit=0", "limit=1000", "order=asc", "purpose=batch"):
            answer = walk.ask("GET", f"/{kind}?{query}")
            shown = f"{len(answer.json()['data'])} items" if answer.is_success else answer.text[:300]
            walk.note(f"GET /{kind}?{query}", f"{answer.status_code} {shown}")


def _paged(walk: Walk, kind: str) -> str:
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = _object(walk.ask("GET", f"/{kind}", params=query))
        seen += [item["id"] for item in page["data"]]
        if not page["has_more"] or not page["data"]:
            break
        query["after"] = seen[-1]
    whole = {item["id"] for item in _object(walk.ask("GET", f"/{kind}", params={"limit": 100}))["data"]}
    return f"{len(seen)} items, {len(set(seen))} different, of {len(whole)} in one page of 100"


def _cancelling(walk: Walk) -> None:
    batch_id = walk.started(["quick"] * 10 + ["sleep:3"] * 20)["id"]
    time.sleep(1)
    walk.note("cancel", walk.ask("POST", f"/batches/{batch_id}/cancel"))
    walk.note("cancel again at once", walk.ask("POST", f"/batches/{batch_id}/cancel"))
    batch, statuses = walk.ended(batch_id)
    walk.note("statuses after cancel", statuses)
    walk.note("cancelled batch", json.dumps(batch))
    walk.note("cancel once it is over", walk.ask("POST", f"/batches/{batch_id}/cancel"))
    done, _ = walk.ended(walk.started(["x"])["id"])
    walk.note(f"cancel of a {done['status']} batch", walk.ask("POST", f"/batches/{done['id']}/cancel"))


def _deleting(walk: Walk) -> None:
    file_id = _object(walk.upload(walk.lines(["x"])))["id"]
    walk.note("delete", walk.ask("DELETE", f"/files/{file_id}"))
    walk.note("delete again", walk.ask("DELETE", f"/files/{file_id}"))
    walk.note("GET after delete", walk.ask("GET", f"/files/{file_id}"))
    walk.note("content after delete", walk.ask("GET", f"/files/{file_id}/content"))
    batch = walk.started(["sleep:1"])
    walk.note("delete of the input of a running batch", walk.ask("DELETE", f"/files/{batch['input_file_id']}"))
    ended, _ = walk.ended(batch["id"])
    walk.note("that batch", f"{ended['status']} {ended.get('errors')}")


def _unknown_ids(walk: Walk) -> None:
    walk.note("GET batch", walk.ask("GET", "/batches/batch_nope"))
    walk.note("cancel", walk.ask("POST", "/batches/batch_nope/cancel"))
    walk.note("GET file", walk.ask("GET", "/files/file-0"))
    walk.note("GET content", walk.ask("GET", "/files/file-0/content"))
    walk.note("GET file, id of another shape", walk.ask("GET", "/files/nope"))


def _refusals(walk: Walk) -> None:
    file_id = _object(walk.upload(walk.lines(["x"])))["id"]
    walk.note("upload, purpose 'nope'", walk.upload(b"{}\n", purpose="nope"))
    walk.note("upload, no purpose", walk.ask("POST", "/files", files={"file": ("in.jsonl", b"{}\n")}))
    walk.note("upload, empty file", walk.upload(b""))
    walk.note("create, endpoint /v1/nope", walk.create(file_id, endpoint="/v1/nope"))
    walk.note("create, window 1h", walk.create(file_id, completion_window="1h"))
    walk.note("create, no input_file_id", walk.ask("POST", "/batches", json={"endpoint": CHAT}))
    walk.note("create, metadata not strings", walk.create(file_id, metadata={"n": 1}))
    walk.note("create, 17 metadata pairs", walk.create(file_id, metadata={f"k{n}": "v" for n in range(17)}))
    walk.note(
        "create, body not JSON",
        walk.ask("POST", "/batches", content=b"{", headers={"content-type": "application/json"}),
    )
    for name, content in (
        ("line not JSON", walk.lines(["x"]) + b"{oops\n"),
        ("duplicate custom_id", walk.lines(["x"]) * 2),
        ("no custom_id", walk.lines(["x"]).replace(b"custom_id", b"custom")),
        ("url not the endpoint", walk.lines(["x"]).replace(b"chat/", b"")),
        ("unknown model", walk.lines(["x"]).replace(walk.model.encode(), b"no-such-model")),
        ("blank line in the middle", walk.lines(["x"]) + b"\n" + walk.lines(["y"]).replace(b"r0", b"r1")),
    ):
        _run_doubtful(walk, f"batch with {name}", _object(walk.upload(content))["id"])
    _run_doubtful(walk, "batch of an unknown file", "file-0")


def _run_doubtful(walk: Walk, name: str, file_id: str) -> None:
    created = walk.create(file_id)
    if not created.is_success:
        walk.note(name, created)
        return
    batch, statuses = walk.ended(_object(created)["id"])
    kept = {key: batch.get(key) for key in ("request_counts", "output_file_id", "error_file_id", "errors")}
    walk.note(name, f"{created.status_code} then {statuses} {json.dumps(kept)}")


def _object(response: httpx.Response) -> Wire:
    response.raise_for_status()
    answer: Wire = response.json()
    return answer
