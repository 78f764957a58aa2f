"""The processes of a deployment: each can be started, killed, paused and stopped, with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_SECONDS = 40.0
LAST_LINES = 40


@dataclass(frozen=True)
class Usage:
    """
    What a part has used.

    :param cpu_seconds: Processor time so far, of all its processes that live.
    :param rss_bytes: Resident memory of each of its processes, largest first; shared pages count in each.
    """

    cpu_seconds: float
    rss_bytes: list[int]


class Part:
    """
    One component of Airflow.

    :param name: Its name, also of its log.
    :param command: Program and arguments.
    :param env: Its whole environment.
    :param log_path: Where its output goes; a new start appends.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Part {self.name} pid {self._popen.pid if self._popen else None}>"

    def start(self) -> None:
        """Start it, in a session of its own."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """Tell whether its first process runs."""
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a lost machine does."""
        family = self._family()
        for process in family:
            _send(process, signal.SIGKILL)
        self._reap(family)

    def pause(self) -> None:
        """Freeze all its processes (SIGSTOP), as a stalled machine does."""
        for process in self._family():
            _send(process, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on (SIGCONT)."""
        for process in self._family():
            _send(process, signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end (SIGTERM), and end what is left after a while."""
        family = self._family()
        if self._popen is not None:
            _send_to_group_leader(self._popen)
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in alive:
            _send(process, signal.SIGKILL)
        self._reap(family)

    def usage(self) -> Usage:
        """Say what its processes have used."""
        spent, sizes = 0.0, []
        for process in self._family():
            try:
                times = process.cpu_times()
                spent += times.user + times.system
                sizes.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return Usage(spent, sorted(sizes, reverse=True))

    def log(self) -> str:
        """Return its output so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def last_lines(self, count: int = LAST_LINES) -> str:
        """
        Return the end of its output.

        :param count: How many lines at most.
        """
        return "\n".join(self.log().splitlines()[-count:])

    def _family(self) -> list[psutil.Process]:
        """Find the first process, its children, and orphans of the same session."""
        if self._popen is None:
            return []
        # Orphans of a first process that has ended keep its session, so they are still found and still ours.
        return [process for process in psutil.process_iter() if _session(process) == self._popen.pid]

    def _reap(self, family: list[psutil.Process]) -> None:
        if self._popen is not None:
            self._popen.wait(STOP_SECONDS)
        psutil.wait_procs(family, timeout=STOP_SECONDS)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _send_to_group_leader(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.send_signal(signal.SIGCONT)  # a frozen process cannot end
        popen.send_signal(signal.SIGTERM)


def stop_all(parts: Sequence[Part]) -> None:
    """
    Stop parts side by side.

    :param parts: The parts, in the order they are told.
    """
    for part in parts:
        if part._popen is not None:
            _send_to_group_leader(part._popen)
    deadline = time.monotonic() + STOP_SECONDS / 2
    while time.monotonic() < deadline and any(part.is_alive() for part in parts):
        time.sleep(0.2)
    for part in parts:
        part.kill()
