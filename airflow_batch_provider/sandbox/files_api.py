"""The routes below ``/v1/files``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_batch_provider.sandbox.errors import invalid_value
from airflow_batch_provider.sandbox.files import FileStore
from airflow_batch_provider.sandbox.http import FileAnswer, JsonAnswer
from airflow_batch_provider.sandbox.pages import page, parse_limit
from airflow_batch_provider.sandbox.uploads import receive_upload

MAX_PAGE = 10_000


class FilesApi:
    """
    Answers requests about files.

    :param files: The files.
    :param max_bytes: The largest upload.
    """

    def __init__(self, files: FileStore, *, max_bytes: int) -> None:
        self._files = files
        self._max_bytes = max_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/files", self.upload, methods=["POST"]),
            Route("/v1/files", self.list_files, methods=["GET"]),
            Route("/v1/files/{id}", self.get, methods=["GET"]),
            Route("/v1/files/{id}", self.delete, methods=["DELETE"]),
            Route("/v1/files/{id}/content", self.content, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Answer ``POST /files``."""
        content_type = request.headers.get("content-type", "")
        record = await receive_upload(content_type, request.stream(), self._files, max_bytes=self._max_bytes)
        return JsonAnswer(record.to_wire())

    async def list_files(self, request: Request) -> Response:
        """Answer ``GET /files``."""
        query = request.query_params
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid_value("order", order, "asc, desc")
        found, has_more = self._files.select(
            after=query.get("after"),
            limit=parse_limit(query, default=MAX_PAGE, highest=MAX_PAGE),
            purpose=query.get("purpose"),
            newest_first=order == "desc",
        )
        return JsonAnswer(page([record.to_wire() for record in found], has_more=has_more))

    async def get(self, request: Request) -> Response:
        """Answer ``GET /files/{id}``."""
        return JsonAnswer(self._files.get(request.path_params["id"]).to_wire())

    async def content(self, request: Request) -> Response:
        """Answer ``GET /files/{id}/content``."""
        record = self._files.get(request.path_params["id"])
        return FileAnswer(self._files.path(record), size=record.size, content_type=record.content_type)

    async def delete(self, request: Request) -> Response:
        """Answer ``DELETE /files/{id}``."""
        file_id = request.path_params["id"]
        self._files.delete(file_id)
        return JsonAnswer({"id": file_id, "object": "file", "deleted": True})
