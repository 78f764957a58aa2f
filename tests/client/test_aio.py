"""The client of triggers has the rules of the blocking one."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import AsyncBatchClient, BatchClient
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiResponseError,
    ApiStatusError,
    NotFoundError,
    ServerError,
)
from tests.client.support import BATCH, KEY, FakeService, async_client_of, settings

Verb = Callable[[AsyncBatchClient], Awaitable[Any]]


def run(service: FakeService, verb: Verb, using: Any = None) -> tuple[Any, list[float]]:
    async def main() -> tuple[Any, list[float]]:
        client, pauses = async_client_of(service, using=using)
        async with client:
            return await verb(client), pauses

    return asyncio.run(main())


def test_verbs_are_equal_in_both_clients() -> None:
    """What the asynchronous client can do, it calls as the blocking one does, with the same parameters."""
    verbs = [name for name, value in vars(AsyncBatchClient).items() if name[0] != "_" and callable(value)]

    assert set(verbs) == {"close", "get_batch", "cancel_batch", "list_batch_page", "glance_at_batches"}
    for name in set(verbs) - {"glance_at_batches"}:
        ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (AsyncBatchClient, BatchClient))
        assert ours.parameters == theirs.parameters


def test_a_batch_is_read() -> None:
    """Path, key and value as in the blocking client."""
    service = FakeService({**BATCH, "id": "arn:aws:long"})
    found, _ = run(service, lambda client: client.get_batch("arn%3Ax"))

    assert (found.id, found.status) == ("arn%3Ax", BatchStatus.IN_PROGRESS)
    assert service.calls == ["GET /v1/batches/arn%3Ax"]
    assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_page_is_read() -> None:
    """With cursor and size."""
    service = FakeService({"data": [BATCH], "has_more": True})
    page, _ = run(service, lambda client: client.list_batch_page(after="x", page_size=7))

    assert page.next_after == "batch_1"
    assert service.calls == ["GET /v1/batches?limit=7&after=x"]


@pytest.mark.parametrize(
    "answer", [{"id": "b", "object": "batch", "status": "cancelling"}, {}, {"status": "success"}], ids=str
)
def test_a_batch_is_cancelled(answer: Any) -> None:
    """An answer that says nothing is asked about."""
    service = FakeService(answer, {"id": "b", "object": "batch", "status": "cancelling"})
    found, _ = run(service, lambda client: client.cancel_batch("b"))

    assert found.status is BatchStatus.CANCELLING
    assert len(service.requests) == (1 if "id" in answer else 2)


def test_blips_are_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """With pauses that do not hold the loop, told at debug: the triggerer's log is for others too."""
    service = FakeService(httpx.ReadError("reset"), httpx.Response(503), BATCH)
    with caplog.at_level(logging.DEBUG, logger="airflow_batch_provider"):
        found, pauses = run(service, lambda client: client.get_batch("b"))

    assert found.id == "b"
    assert pauses == [0.5, 1.0]
    assert {record.levelname for record in caplog.records if "airflow_batch_provider" in record.name} == {"DEBUG"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(404), NotFoundError),
        (httpx.Response(302, headers={"location": "http://evil.test"}), ApiStatusError),
        (httpx.Response(500), ServerError),
        (httpx.ConnectError("refused"), ApiConnectionError),
        (httpx.Response(200, content=b"<html>"), ApiResponseError),
    ],
)
def test_errors_are_the_same(answer: Any, kind: type[Exception]) -> None:
    """Classes and the number of tries are those of the blocking client; redirects are not followed."""
    service = FakeService(answer)
    with pytest.raises(kind):
        run(service, lambda client: client.get_batch("b"), settings(extra={"max_retries": 0}))

    assert [request.url.host for request in service.requests] == ["service.test"]


def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One service cannot fill the triggerer's memory."""
    from airflow_batch_provider.client import http

    monkeypatch.setattr(http, "MAX_JSON_BYTES", 1_000)
    with pytest.raises(ApiResponseError, match="larger than 1,000 bytes"):
        run(FakeService({**BATCH, "x": "y" * 2_000}), lambda c: c.get_batch("b"), settings(extra={"max_retries": 0}))
