"""A process of its own that joins rows, as the task sees it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, cast

import msgspec

from airflow_batch_provider.core.joining_job import JoiningJob
from airflow_batch_provider.core.tally import Tally
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import Joined, frames, slots
from airflow_batch_provider.joining.frames import Kind
from airflow_batch_provider.joining.slots import Filling

PIPE_BYTES = 1 << 20
CLOSE_SECONDS = 5.0
# A helper begins within a tenth of a second; a busy machine may take its time.
BEGIN_SECONDS = 30.0
# Who is stopped, or stuck, says nothing and reads nothing. Who writes says nothing either, for as long as a slow disk takes.
SILENCE_SECONDS = 600.0
SLOW_DISK_BYTES_A_SECOND = 500_000
# The same places for modules as here, however this process came to them.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {} import worker; worker.main(*map(int, sys.argv[2:]))"


class HelperLostError(Exception):
    """
    A helper does not do its part; what it was given must be done here.

    :param reason: Why, without any data.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"A helper process for joining rows is lost ({reason}).")


class Helper:
    """
    See :class:`airflow_batch_provider.joining.Joining`; :meth:`start` begins each piece.

    :raises HelperLostError: It cannot be started, or (each of the methods) it is lost.
    """

    def __init__(self) -> None:
        try:
            with slots.memory_file() as memory:
                self._memory = slots.mapped(memory)
                self._process, answers = _started(memory)
        except OSError as error:
            raise HelperLostError(type(error).__name__) from error
        self._pipes = cast("IO[bytes]", self._process.stdin), answers
        self._to, self._from = (pipe.fileno() for pipe in self._pipes)
        with suppress(OSError, AttributeError):  # not on every system; and a user may have too many large pipes
            fcntl.fcntl(self._to, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._answers = select.poll()  # select() knows no descriptors above 1023
        self._answers.register(self._from, select.POLLIN)
        self._room = select.poll()
        self._room.register(self._to, select.POLLOUT)
        os.set_blocking(self._to, False)
        # It begins while the download does: so much may be sent before it has said that it reads.
        self._has_begun = False
        self._unread_room = _pipe_bytes(self._to) // 2
        self._filling = Filling(self._memory)
        # Slots that were passed on and not read yet.
        self._untaken = 0
        # Of the rows that are to be written.
        self._bytes = 0

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def start(self, job: JoiningJob, id_lines: bytes, positions: Sequence[int]) -> None:
        """
        Begin a piece.

        :param job: The piece and its batch.
        :param id_lines: The custom_ids of its requests, in order: lines of JSON arrays.
        :param positions: Positions of its requests in the input; not looked at when they follow one another.
        """
        self._send(Kind.JOB, _as_json(msgspec.to_builtins(job)))
        if job.first_index is None:
            self._send(Kind.POSITIONS, array("q", positions).tobytes())
        self._send(Kind.IDS, id_lines)

    def begin(self, subject: str, *, skips_damage: bool) -> None:
        """Say that a file begins."""
        self._send(Kind.BEGIN, _as_json({"subject": subject, "skips_damage": skips_damage}))

    def write(self, data: bytes, /) -> int:
        """Take the next piece of the file."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._filling.put(rest) :]
            if self._filling.is_full:
                self._pass_on()
        return len(data)

    def end(self) -> bool:
        """Say that the file has ended."""
        self._pass_on()
        answer = self._ask(Kind.END)
        if answer["damage"] is not None:
            raise DownloadError(answer["damage"])
        return bool(answer["ends_whole"])

    def roll_back(self) -> None:
        """Forget all that came since the file began."""
        self._filling.empty()
        self._send(Kind.ROLL_BACK)

    def finish(self) -> Joined:
        """Settle what is open."""
        answer = self._ask(Kind.FINISH)
        self._bytes = answer["bytes"]
        return Joined(Tally.from_dict(answer["tally"]), answer["open_positions"], answer["bytes"])

    def write_to(self, path: str, offset: int) -> None:
        """Write all rows in order."""
        content = _as_json({"path": path, "offset": offset})
        self._ask(Kind.WRITE, content, seconds=SILENCE_SECONDS + self._bytes / SLOW_DISK_BYTES_A_SECOND)

    def close(self) -> None:
        """End the process; it may be in the middle of something."""
        for end in (*self._pipes, self._memory):
            end.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pass_on(self) -> None:
        """Let the helper read what is in the slot; wait until the next one is free."""
        self._send(Kind.DATA, self._filling.turn().to_bytes())
        self._untaken += 1
        while self._untaken == slots.SLOTS:
            self._see_one_taken()

    def _send(self, kind: Kind, content: bytes = b"") -> None:
        self._unread_room -= frames.HEAD_BYTES + len(content)
        if self._unread_room < 0:
            self._see_it_begin()
        try:
            frames.send(self._to, kind, content, wait=self._wait_for_room)
        except OSError as error:
            raise self._lost() from error

    def _wait_for_room(self) -> None:
        if not self._room.poll(SILENCE_SECONDS * 1000):
            self._process.kill()
            raise HelperLostError(f"it read nothing for {SILENCE_SECONDS:g} s")

    def _ask(self, kind: Kind, content: bytes = b"", *, seconds: float | None = None) -> dict[str, Any]:
        self._send(kind, content)
        while self._untaken:
            self._see_one_taken()
        answer: dict[str, Any] = json.loads(self._receive(Kind.ANSWER, seconds))
        return answer

    def _see_one_taken(self) -> None:
        self._receive(Kind.TAKEN)
        self._untaken -= 1

    def _receive(self, kind: Kind, seconds: float | None = None) -> bytes:
        self._see_it_begin()
        return self._heard(kind, seconds or SILENCE_SECONDS)

    def _see_it_begin(self) -> None:
        if not self._has_begun:
            self._heard(Kind.READY, BEGIN_SECONDS)
            self._has_begun = True

    def _heard(self, kind: Kind, seconds: float) -> bytes:
        if not self._answers.poll(seconds * 1000):
            self._process.kill()
            raise HelperLostError(f"it said nothing for {seconds:g} s")
        try:
            frame = frames.receive(self._from)
        except ValueError as error:
            self._process.kill()
            raise HelperLostError("what it says is no frame") from error
        if frame is None:
            raise self._lost()
        if frame.kind is not kind:
            self._process.kill()
            raise HelperLostError("it answers what nobody asked")
        return frame.content

    def _lost(self) -> HelperLostError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        return HelperLostError(f"exit code {self._process.returncode}")


def _started(memory: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start the program, giving it the memory; return it and the end of a pipe that its answers come from."""
    source, target = os.pipe()
    answers = os.fdopen(source, "rb", buffering=0)
    command = [
        sys.executable or "python3",
        "-c",
        _PROGRAM.format(__package__),
        json.dumps(list(map(str, sys.path))),
        str(target),
        str(memory),
    ]
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # whatever prints there (sitecustomize, a .pth file) answers nothing
            stderr=subprocess.DEVNULL,  # a traceback could hold a row
            bufsize=0,
            pass_fds=(target, memory),
        )
    except BaseException:
        answers.close()
        raise
    finally:
        os.close(target)
    return process, answers


def _pipe_bytes(pipe: int) -> int:
    try:
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    except (OSError, AttributeError):  # not on every system: what every pipe takes
        return select.PIPE_BUF


def _as_json(value: Any) -> bytes:
    """As msgspec would not: it refuses half a surrogate pair, which texts of services and names of files may have."""
    return json.dumps(value).encode()
