"""The sandbox's own routes, outside ``/v1``: a greeting, its state, and its faults for other processes to set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from airflow_batch_provider.sandbox.errors import ApiError
from airflow_batch_provider.sandbox.faults import Fault, Faults
from airflow_batch_provider.sandbox.http import JsonAnswer, read_body

GREETING = "The sandbox is up. Its API is below /v1; nothing leaves this machine.\n"


class ControlApi:
    """
    Answers requests about the sandbox itself.

    :param faults: Its faults.
    :param state: Returns its calls, files and batches.
    """

    def __init__(self, faults: Faults, state: Callable[[], dict[str, Any]]) -> None:
        self._faults = faults
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.greet, methods=["GET"]),
            Route("/sandbox/state", self.state, methods=["GET"]),
            Route("/sandbox/faults", self.list_faults, methods=["GET"]),
            Route("/sandbox/faults", self.replace_faults, methods=["PUT"]),
            Route("/sandbox/faults", self.clear_faults, methods=["DELETE"]),
        ]

    async def greet(self, _request: Request) -> Response:
        """Answer ``GET /``."""
        return PlainTextResponse(GREETING)

    async def state(self, _request: Request) -> Response:
        """Answer ``GET /sandbox/state``."""
        return JsonAnswer(self._state())

    async def list_faults(self, _request: Request) -> Response:
        """Answer ``GET /sandbox/faults``."""
        return JsonAnswer(self._faults.all())

    async def replace_faults(self, request: Request) -> Response:
        """Answer ``PUT /sandbox/faults``: the body is the list of all faults there shall be."""
        try:
            faults = msgspec.json.decode(await read_body(request), type=list[Fault])
        except msgspec.DecodeError as error:
            raise ApiError(400, f"Unusable faults: {error}.") from error
        self._faults.replace(faults)
        return JsonAnswer(self._faults.all())

    async def clear_faults(self, _request: Request) -> Response:
        """Answer ``DELETE /sandbox/faults``."""
        self._faults.clear()
        return JsonAnswer([])
