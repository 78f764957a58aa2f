"""
A service that only knows batches and answers each question 50 ms late. Ours and the peers' triggers ask it.

Prints its URL. When each batch was asked for once, or 120 s after the start (without a list at once, because asking for
all takes minutes), batches begin to end: one by one from 5 to 25 s later, in an order unlike the list's.
``GET /v1/start`` says that the triggers begin, ``GET /v1/stats`` what was asked; both are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from array import array
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.waiting_account import NEVER, Account
from benchmarks.waiting_probe import spread

DELAY_SECONDS = 0.05
# A loop that is blocked more than its interval never lets all triggers begin.
BEGIN_WITHIN_SECONDS = 120
BACKLOG = 4096
HEAD = "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Record:
    """What was asked, and how much the server itself was late."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._looked: dict[str, float] = {}
        self._looks: Counter[str] = Counter()
        self._gaps = array("d")
        self._late = array("d")
        self._routes: Counter[str] = Counter()
        self._seconds: Counter[int] = Counter()
        self.connections = self.open = self.most_open = 0
        self.started = self._all_asked_at = NEVER

    def asked(self, route: str) -> None:
        self._routes[route] += 1
        self._seconds[int(time.time())] += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def answered(self, seconds: float) -> None:
        self.open -= 1
        self._late.append(seconds - DELAY_SECONDS)

    def shown(self, batch_id: str, now: float) -> None:
        """A look at a batch of ours, up to the one that showed the end."""
        before = self._looked.get(batch_id, self.started)
        if batch_id not in self._account.own or before >= self._account.end_of(batch_id):
            return
        self._gaps.append(now - before)
        self._looked[batch_id] = now
        self._looks[batch_id] += 1
        if len(self._looked) == len(self._account.own_ids):
            self._all_asked_at = min(self._all_asked_at, now)
            self.begin()

    def begin(self) -> None:
        """Let batches end, if they do not yet."""
        self._account.begun = min(self._account.begun, time.time())

    def stats(self) -> dict[str, Any]:
        looks = [self._looks[batch_id] for batch_id in self._account.own_ids]
        return {
            "requests": self._routes,
            "most_in_a_second": max(self._seconds.values(), default=0),
            "most_at_once": self.most_open,
            "connections": self.connections,
            "gap_seconds": spread(self._gaps),
            "all_asked_after_seconds": None if self._all_asked_at == NEVER else self._all_asked_at - self.started,
            "looks": sum(looks),
            "never_looked_at": looks.count(0),
            "least_looks": min(looks),
            "most_looks": max(looks),
            "server_late_ms": {name: value * 1000 for name, value in spread(self._late).items()},
            "server_cpu_seconds": time.process_time(),
            "ends": [self._account.end_of(batch_id) for batch_id in self._account.own_ids],
        }


class Exchange(asyncio.Protocol):
    """One connection. Requests have no body; each is answered after its delay, whatever else goes on."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.record.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            url = urlsplit(head.split(b" ", 2)[1].decode())
            self._service.take(url.path, parse_qs(url.query), self._send)

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        if self._transport and not self._transport.is_closing():
            self._transport.write((HEAD % (status, len(body))).encode() + body)


class Service:
    """
    The routes.

    :param account: Its batches.
    :param has_list: Whether batches can be listed.
    """

    def __init__(self, account: Account, *, has_list: bool) -> None:
        self._account = account
        self._has_list = has_list
        self.record = Record(account)

    def take(self, path: str, query: dict[str, list[str]], send: Any) -> None:
        if path == "/v1/start":
            self.record.started = time.time()
            wait = BEGIN_WITHIN_SECONDS if self._has_list else 0
            asyncio.get_running_loop().call_later(wait, self.record.begin)
            send(200, {})
        elif path == "/v1/stats":
            send(200, self.record.stats())
        else:
            loop = asyncio.get_running_loop()
            self.record.asked("list" if path == "/v1/batches" else "get")
            loop.call_later(DELAY_SECONDS, self._answer, path, query, send, loop.time())

    def _answer(self, path: str, query: dict[str, list[str]], send: Any, asked: float) -> None:
        now, status = time.time(), 404
        answer: dict[str, Any] = {"error": {"message": "Not found.", "type": "invalid_request_error"}}
        name = path.removeprefix("/v1/batches").strip("/")
        after = query["after"][0] if "after" in query else None
        limit = min(100, int(query.get("limit", ["20"])[0]))
        if name in self._account.places:
            status, answer = 200, self._account.batch(name, now)
            self.record.shown(name, now)
        elif not name and self._has_list and (after is None or after in self._account.places):
            status, answer = 200, self._account.page(after, limit, now)
            for batch in answer["data"]:
                self.record.shown(batch["id"], now)
        send(status, answer)
        self.record.answered(asyncio.get_running_loop().time() - asked)


async def serve(service: Service) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(service), "127.0.0.1", 0, backlog=BACKLOG)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--own", type=int, required=True)
    parser.add_argument("--newer", type=int, default=0)
    parser.add_argument("--older", type=int, default=0)
    parser.add_argument("--no-list", action="store_true")
    options = parser.parse_args()
    service = Service(Account(options.own, options.newer, options.older), has_list=not options.no_list)
    asyncio.run(serve(service))


if __name__ == "__main__":
    main()
