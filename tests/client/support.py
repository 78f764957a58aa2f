"""What the tests of the client share: a scripted service behind ``MockTransport``, and ways to build clients for it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from airflow_batch_provider.client import AsyncBatchClient, BatchClient, ServiceSettings
from airflow_batch_provider.client.multipart import Upload

URL = "http://service.test/v1"
KEY = "sk-secret-0123456789"
Answer = httpx.Response | Exception
BATCH = {"id": "batch_1", "object": "batch", "status": "in_progress"}
FILE = {"id": "file-1", "object": "file", "bytes": 3}


class FakeService:
    """
    Answers one after the other; the last one stays. Exceptions are raised instead.

    :param answers: What to answer: JSON values, responses, exceptions, or a function of the request.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.content)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer) and not isinstance(answer, httpx.Response):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return httpx.Response(200, json=answer)

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


def settings(**parts: Any) -> ServiceSettings:
    """Settings of a plain service with a key; ``parts`` are those of a connection."""
    return ServiceSettings.from_parts(**{"host": URL, "password": KEY, **parts})


def gateway(**extra: Any) -> ServiceSettings:
    """Settings of a Portkey gateway."""
    return settings(extra={"provider": "openai", **extra})


def client_of(
    service: Callable[[httpx.Request], httpx.Response], *, using: ServiceSettings | None = None
) -> tuple[BatchClient, list[float]]:
    """Return a client and the list of its pauses, which take no time."""
    pauses: list[float] = []
    transport = httpx.MockTransport(service)
    client = BatchClient(using or settings(), transport=transport, sleep=pauses.append, jitter=lambda: 1.0)
    return client, pauses


def async_client_of(
    service: Callable[[httpx.Request], httpx.Response], *, using: ServiceSettings | None = None
) -> tuple[AsyncBatchClient, list[float]]:
    """The same, asynchronous."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    transport = httpx.MockTransport(service)
    return AsyncBatchClient(using or settings(), transport=transport, sleep=sleep, jitter=lambda: 1.0), pauses


def upload_of(content: bytes, filename: str = "in.jsonl", **fields: Any) -> Upload:
    """Return an upload of bytes in memory."""
    return Upload(lambda: io.BytesIO(content), len(content), filename, **fields)


class Target:
    """Where downloads go: keeps what a good try wrote, and how many tries there were."""

    def __init__(self) -> None:
        self.tries = 0
        self.content: bytes | None = None

    @contextmanager
    def open(self) -> Iterator[io.BytesIO]:
        self.tries += 1
        stream = io.BytesIO()
        yield stream
        self.content = stream.getvalue()
