"""A sandbox behind a port, in a thread of this process."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import uvicorn

from airflow_batch_provider.sandbox.app import Sandbox
from airflow_batch_provider.sandbox.faults import Faults
from airflow_batch_provider.sandbox.settings import Durations, Limits, Settings

START_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048


class SandboxServer:
    """
    A running sandbox; use it as a context manager.

    :param port: Where it listens; 0 picks a free port.
    :param host: On which address.
    :param directory: See :class:`~airflow_batch_provider.sandbox.settings.Settings`, as for all that follow.
    :param time_scale: How many times faster than usual batches run.
    :param durations: How long batches take at ``time_scale`` 1.
    :param limits: The sizes that are accepted.
    :param clock: Returns the time in epoch seconds.
    :param api_key: The key every request must carry.
    :param latency: Seconds every request waits.
    :param seed: Makes ids, orders and dice repeatable.
    :param patience: Seconds a request waits for results that are due.
    :param log: True to write one line per request to stderr.
    :raises OSError: the port is taken, or the directory cannot be used.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        directory: Path | None = None,
        time_scale: float = 1.0,
        durations: Durations | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        api_key: str | None = None,
        latency: float = 0.0,
        seed: int | None = None,
        patience: float | None = None,
        log: bool = False,
    ) -> None:
        self.settings = Settings(
            directory=directory,
            time_scale=time_scale,
            durations=durations or Durations(),
            limits=limits or Limits(),
            clock=clock,
            api_key=api_key,
            latency=latency,
            seed=seed,
            patience=patience,
        )
        self._socket = _listen(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        try:
            self._sandbox = Sandbox(self.settings, log=log)
        except OSError:
            self._socket.close()
            raise
        self._uvicorn = _Uvicorn(self._sandbox)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def __repr__(self) -> str:
        return f"<SandboxServer [{self.url}]>"

    def __enter__(self) -> Self:
        """Start, and return when requests are answered."""
        self._thread.start()
        if not self._uvicorn.ready.wait(START_SECONDS):
            raise RuntimeError(f"The sandbox did not start within {START_SECONDS:.0f} seconds.")
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop at once; connections that are still open are closed."""
        self._sandbox.stop_work()
        self._uvicorn.stop()
        self._thread.join()
        self._socket.close()
        self._sandbox.close()

    def _run(self) -> None:
        self._uvicorn.run(sockets=[self._socket])

    @property
    def url(self) -> str:
        """The base URL a client needs, ``/v1`` included."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def faults(self) -> Faults:
        """What goes wrong on purpose."""
        return self._sandbox.faults

    @property
    def calls(self) -> Counter[str]:
        """How often each route was called, keyed like ``GET /batches/{id}``."""
        return self._sandbox.calls

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch there ever was, oldest first, as the API would show it now."""
        return self._sandbox.batches()

    def files(self) -> list[dict[str, Any]]:
        """Return every file there is, oldest first, as the API would show it now."""
        return self._sandbox.files()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A sandbox that is started again must not wait for the connections of the one before.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Uvicorn(uvicorn.Server):
    """Uvicorn that says when it is ready and stops when told, instead of looking ten times a second."""

    def __init__(self, app: Sandbox) -> None:
        is_fast = importlib.util.find_spec("httptools") is not None
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools" if is_fast else "h11",
                ws="none",
                lifespan="off",
                proxy_headers=False,
                date_header=False,
                access_log=False,
                log_config=None,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self.ready = threading.Event()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        """Wait for the end."""
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything now; a sandbox owes nobody the rest of an answer."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        # What was accepted just now becomes a connection first, and is closed like the others.
        await asyncio.sleep(0)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def stop(self) -> None:
        """End now; usable from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
