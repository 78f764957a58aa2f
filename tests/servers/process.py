"""Start a server process, wait until it answers, stop it by its pid."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.servers.cache import cache_dir

START_SECONDS = 120.0
STOP_SECONDS = 10.0
PROBE_SECONDS = 0.1
LAST_LINES = 25
LOGS_KEPT = 20


class ServerDiedError(Exception):
    """A server process ended, or never answered, while somebody was waiting for it."""


@dataclass(frozen=True)
class Process:
    """A running server process and where its output goes."""

    name: str
    popen: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self.popen.pid

    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self.popen.poll() is None

    def wait_for_end(self, timeout: float = STOP_SECONDS) -> None:
        """
        Wait for a process that is about to end by itself.

        :param timeout: Seconds.
        :raises ServerDiedError: It goes on.
        """
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerDiedError(f"{self.name} answers no more and does not end. {self.last_lines()}") from None

    def last_lines(self, count: int = LAST_LINES) -> str:
        """
        Return the end of the log.

        :param count: How many lines at most.
        """
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").split("\n")
        return "\n".join(lines[-count:]).strip()

    def kill(self) -> None:
        """End the process at once and without a chance to tidy up, as a crash would."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """
        Ask the process to end; kill it when it does not. Doing it twice is harmless.

        :param timeout: Seconds between asking and killing.
        """
        if not self.is_alive():
            return
        self.popen.terminate()
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(frozen=True)
class Server:
    """
    A started server.

    :param name: What it is, with its version.
    :param url: The OpenAI-style base address, ending in ``/v1``.
    :param process: The process behind it.
    :param model: A model name that requests may use.
    """

    name: str
    url: str
    process: Process
    model: str


def free_port() -> int:
    """Return a TCP port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> Callable[[], bool]:
    """
    Make a probe that is true once a GET of the address is answered with a 2xx.

    :param url: What to ask.
    """

    def probe() -> bool:
        try:
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    return probe


@contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    *,
    ready: Callable[[], bool],
    name: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log_path: Path | None = None,
    timeout: float = START_SECONDS,
) -> Iterator[Process]:
    """
    Run a server for the length of the block.

    The process gets a group of its own, so that Ctrl-C reaches the tests and not the server under them.

    :param command: Program and arguments.
    :param ready: Asked again and again until it returns true.
    :param name: For messages and for the name of the log.
    :param env: Variables to set on top of the current ones.
    :param cwd: Working directory.
    :param log_path: Where standard output and error go; by default one of the last few in the cache folder.
    :param timeout: Seconds until a silent server is given up.
    :raises ServerDiedError: the process ended or stayed silent; the message holds the end of its log.
    """
    log_path = log_path or _new_log(name)
    with log_path.open("wb") as log:
        popen = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    process = Process(name, popen, log_path)
    try:
        _wait_until_ready(process, ready, time.monotonic() + timeout)
        yield process
    finally:
        process.stop()


def _new_log(name: str) -> Path:
    folder = cache_dir("logs")
    for old in sorted(folder.glob(f"{name}-*.log"))[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    return folder / f"{name}-{time.time_ns()}-{os.getpid()}.log"


def _wait_until_ready(process: Process, ready: Callable[[], bool], deadline: float) -> None:
    while True:
        is_ready = ready()
        if not process.is_alive():
            ended = f"ended with code {process.popen.returncode} before it answered"
        elif is_ready:
            return
        elif time.monotonic() > deadline:
            ended = "did not answer in time"
        else:
            time.sleep(PROBE_SECONDS)
            continue
        raise ServerDiedError(f"{process.name} {ended}. The end of {process.log_path}:\n{process.last_lines()}")
