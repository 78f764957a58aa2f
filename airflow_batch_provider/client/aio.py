"""The client of triggers: asynchronous; it asks, lists and cancels, and never moves files."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from airflow_batch_provider.client import calls, http
from airflow_batch_provider.client.glances import Glance
from airflow_batch_provider.client.retries import seconds_before_retry
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.wire import Page
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.exceptions import ApiError

log = logging.getLogger(__name__)
T = TypeVar("T")


class AsyncBatchClient:
    """
    One service, as coroutines; methods and rules are those of :class:`~airflow_batch_provider.client.BatchClient`.

    :param settings: The service.
    :param transport: Replaces the network in tests.
    :param sleep: Waits between tries.
    :param jitter: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._jitter = jitter
        self._http = httpx.AsyncClient(transport=transport, **http.client_options(settings))

    def __repr__(self) -> str:
        return f"<AsyncBatchClient {self.settings.base_url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get_batch(self, batch_id: str) -> Batch:
        """
        Ask about a batch.

        :param batch_id: Its id.
        """
        return await self._perform(calls.get_batch(batch_id))

    async def cancel_batch(self, batch_id: str) -> Batch:
        """
        Cancel a batch. What is done by then is kept and billed.

        :param batch_id: Its id.
        """
        answer = await self._perform(calls.cancel_batch(batch_id))
        if calls.is_batch(answer):
            return calls.get_batch(batch_id).read(answer)
        return await self.get_batch(batch_id)

    async def list_batch_page(self, *, after: str | None = None, page_size: int = 100) -> Page[Batch]:
        """
        One page of the list of batches.

        :param after: Cursor from the page before.
        :param page_size: Batches per call, up to 100.
        """
        return await self._perform(calls.list_batches(after, page_size))

    async def glance_at_batches(self, *, after: str | None = None, page_size: int = 100) -> Page[Glance]:
        """
        One page of the list of batches, of each only what waiting needs.

        :param after: Cursor from the page before.
        :param page_size: Batches per call, up to 100.
        """
        return await self._perform(calls.glance_at_batches(after, page_size))

    async def _perform(self, call: calls.Call[T]) -> T:
        number = 0
        while True:
            number += 1
            try:
                return await self._once(call)
            except ApiError as error:
                delay = seconds_before_retry(
                    error,
                    attempt=number,
                    max_retries=self.settings.max_retries,
                    is_repeatable=call.is_repeatable,
                    jitter=self._jitter(),
                )
                if delay is None:
                    raise
                log.debug("%s Trying again in %.1f s (%d of %d).", error, delay, number, self.settings.max_retries)
            await self._sleep(delay)

    async def _once(self, call: calls.Call[T]) -> T:
        with http.translated(call.subject, self.settings):
            options: dict[str, Any] = http.request_options(call)
            request = self._http.build_request(call.method, self.settings.base_url + call.path, **options)
            response = await self._http.send(request, stream=True)
            body = http.BoundedBody(call.subject)
            try:
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
            finally:
                await response.aclose()
        return http.read_answer(call, response.status_code, response.headers, body.content(), self.settings)
