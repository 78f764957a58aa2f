"""The routes below ``/v1/batches``."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_batch_provider.sandbox.batches import BatchRecord, BatchStore
from airflow_batch_provider.sandbox.files import FileStore
from airflow_batch_provider.sandbox.http import JsonAnswer, read_body
from airflow_batch_provider.sandbox.orders import parse_order
from airflow_batch_provider.sandbox.pages import page, parse_limit

DEFAULT_PAGE = 20
MAX_PAGE = 100


class BatchesApi:
    """
    Answers requests about batches.

    :param batches: The batches.
    :param files: The files.
    :param workers: Where the work on due batches runs.
    :param patience: Seconds an answer waits for that work.
    """

    def __init__(self, batches: BatchStore, files: FileStore, *, workers: Executor, patience: float) -> None:
        self._batches = batches
        self._files = files
        self._workers = workers
        self._patience = patience
        self._at_work: dict[str, asyncio.Future[BatchRecord]] = {}

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/batches", self.create, methods=["POST"]),
            Route("/v1/batches", self.list_batches, methods=["GET"]),
            Route("/v1/batches/{id}", self.get, methods=["GET"]),
            Route("/v1/batches/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Answer ``POST /batches``."""
        order = parse_order(await read_body(request), self._files)
        return JsonAnswer(self._batches.to_wire(self._batches.create(order)))

    async def list_batches(self, request: Request) -> Response:
        """Answer ``GET /batches``."""
        query = request.query_params
        limit = parse_limit(query, default=DEFAULT_PAGE, highest=MAX_PAGE)
        found, has_more = self._batches.select(after=query.get("after"), limit=limit)
        await self._settle(found)
        return JsonAnswer(page([self._wire(record) for record in found], has_more=has_more))

    async def get(self, request: Request) -> Response:
        """Answer ``GET /batches/{id}``."""
        record = self._batches.get(request.path_params["id"])
        await self._settle([record])
        return JsonAnswer(self._wire(record))

    async def cancel(self, request: Request) -> Response:
        """Answer ``POST /batches/{id}/cancel``; a body, if there is one, says nothing."""
        record = self._batches.get(request.path_params["id"])
        await self._settle([record])
        return JsonAnswer(self._batches.to_wire(self._batches.cancel(self._batches.get(record.id))))

    def _wire(self, record: BatchRecord) -> dict[str, object]:
        return self._batches.to_wire(self._batches.get(record.id))

    async def _settle(self, records: list[BatchRecord]) -> None:
        """Have the due work done, once for all who ask, and wait for it as long as patience lasts."""
        due = [self._start(record.id) for record in records if self._batches.needs_work(record)]
        if due:
            done, _ = await asyncio.wait(due, timeout=self._patience)
            for future in done:
                future.result()

    def _start(self, batch_id: str) -> asyncio.Future[BatchRecord]:
        future = self._at_work.get(batch_id)
        if future is None:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._workers, self._batches.settle, batch_id)
            self._at_work[batch_id] = future
            future.add_done_callback(lambda _: self._at_work.pop(batch_id, None))
        return future
