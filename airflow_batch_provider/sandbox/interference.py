"""
Faults acted out, as ASGI applications wrapped around the real one.

Cutting a connection is not in the ASGI vocabulary: an application can only answer or raise, and uvicorn turns the
latter into a 500 and a traceback. So this module reaches for the transport behind uvicorn's ``send``. Under any other
server (tests that call the application without one) a cut is a :class:`ConnectionResetError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_batch_provider.sandbox.errors import error_body
from airflow_batch_provider.sandbox.faults import Fault

Handler = Callable[[ASGIApp, Fault, Scope, Receive, Send], Awaitable[None]]

DEFAULT_STATUS = 500
HTML = b"<html><head><title>%d</title></head><body><h1>Bad gateway</h1><p>sandbox</p></body></html>"


class _AnswerCutError(Exception):
    """Raised into the application when nobody wants the rest of its answer."""


def with_faults(app: ASGIApp, faults: list[Fault]) -> ASGIApp:
    """
    Return ``app`` with these faults around it; the first is the outermost.

    :param app: The application.
    :param faults: What goes wrong with this request.
    """
    for fault in reversed(faults):
        app = _wrap(app, fault)
    return app


def _wrap(app: ASGIApp, fault: Fault) -> ASGIApp:
    handler = HANDLERS[fault.kind]

    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(app, fault, scope, receive, send)

    return faulty


async def _answer_status(_app: ASGIApp, fault: Fault, _scope: Scope, _receive: Receive, send: Send) -> None:
    status = fault.status or DEFAULT_STATUS
    if isinstance(fault.body, str):
        await _answer(send, fault, fault.body.encode(), b"text/plain; charset=utf-8")
    else:
        kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
        body = error_body(f"The sandbox was asked to answer {status}.", kind=kind) if fault.body is None else fault.body
        await _answer(send, fault, msgspec.json.encode(body), b"application/json")


async def _answer_html(_app: ASGIApp, fault: Fault, _scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, fault, HTML % (fault.status or DEFAULT_STATUS), b"text/html; charset=utf-8")


async def _answer_empty(_app: ASGIApp, fault: Fault, _scope: Scope, _receive: Receive, send: Send) -> None:
    await _answer(send, fault, b"", None)


async def _answer(send: Send, fault: Fault, body: bytes, content_type: bytes | None) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    if content_type is not None:
        headers.append((b"content-type", content_type))
    if fault.retry_after is not None:
        headers.append((b"retry-after", str(fault.retry_after).encode()))
    await send({"type": "http.response.start", "status": fault.status or DEFAULT_STATUS, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drop(_app: ASGIApp, _fault: Fault, scope: Scope, receive: Receive, _send: Send) -> None:
    await _cut(scope, receive, at_once=True)


async def _delay(app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(fault.seconds)
    await app(scope, receive, send)


async def _lose_answer(app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    async def swallow(message: Message) -> None:
        """Let the application believe that its answer went out."""

    await app(scope, receive, swallow)
    if fault.status is None:
        await _cut(scope, receive, at_once=True)
    else:
        await _answer_status(app, fault, scope, receive, send)


async def _truncate(app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    left = 0

    async def send_part(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.start":
            left = int(_body_length(message) * fault.at)
            await send({**message, "headers": _cut_headers(message, fault, left)})
            return
        body = bytes(message.get("body", b"")[:left])
        left -= len(body)
        await send({**message, "body": body, "more_body": left > 0 or not fault.silent})
        if left == 0:
            raise _AnswerCutError

    try:
        await app(scope, receive, send_part)
    except _AnswerCutError:
        if not fault.silent:
            await _cut(scope, receive, at_once=False)


def _cut_headers(start: Message, fault: Fault, length: int) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = list(start["headers"])
    if fault.silent or fault.chunked:
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    if fault.silent:
        headers.append((b"content-length", str(length).encode()))
    return headers


async def _corrupt(app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    position = first = last = 0

    async def send_flipped(message: Message) -> None:
        nonlocal position, first, last
        if message["type"] == "http.response.start":
            first = max(0, (_body_length(message) - fault.count) // 2)
            last = first + fault.count
            await send(message)
            return
        body = bytearray(message.get("body", b""))
        for place in range(max(first, position), min(last, position + len(body))):
            body[place - position] ^= 0xFF
        position += len(body)
        await send({**message, "body": bytes(body)})

    await app(scope, receive, send_flipped)


def _body_length(start: Message) -> int:
    lengths = [int(value) for name, value in start["headers"] if name.lower() == b"content-length"]
    return lengths[0] if lengths else 0


async def _cut(scope: Scope, receive: Receive, *, at_once: bool) -> None:
    """Close the connection: at once, or after what was sent has left; then wait until uvicorn knows."""
    transport: Any = scope.get(TRANSPORT)
    if transport is None:
        raise ConnectionResetError("The sandbox was asked to drop this connection.")
    if at_once:
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


TRANSPORT = "sandbox.transport"
"""Where the front of the application puts the transport, in the scope."""


def transport_behind(send: Send) -> Any:
    """
    Return the transport a server's ``send`` writes to, or None.

    :param send: As the server handed it over: a bound method of uvicorn's request cycle.
    """
    return getattr(getattr(send, "__self__", None), "transport", None)


HANDLERS: dict[str, Handler] = {
    "status": _answer_status,
    "html": _answer_html,
    "empty": _answer_empty,
    "drop": _drop,
    "latency": _delay,
    "lost_answer": _lose_answer,
    "truncate": _truncate,
    "corrupt": _corrupt,
}
