"""
What a helper process does: ``main()`` joins one piece after the other, as it is told through its standard input.

It loads no Airflow, knows no connection and opens no network. It ends when its input does, which is when the task ends,
however that dies.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from airflow_batch_provider.core.joining_job import JoiningJob, ids_from_lines
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import frames, slots
from airflow_batch_provider.joining.frames import Frame, Kind
from airflow_batch_provider.joining.here import JoiningHere
from airflow_batch_provider.joining.slots import Part

Send = Callable[[Kind, bytes], None]

T = TypeVar("T")


class Worker:
    """
    Joins as it is told, frame by frame.

    A file with a damaged line is read to its end all the same; that it is damaged is the answer to its end.

    :param memory: Memory where pieces of files lie.
    :param send: Sends a frame back.
    """

    def __init__(self, memory: bytes | mmap.mmap, send: Send) -> None:
        self._memory = memory
        self._send = send
        self._job: JoiningJob | None = None
        self._positions: array[int] = array("q")
        self._joining: JoiningHere | None = None
        self._damage: str | None = None

    def take(self, frame: Frame) -> None:
        """
        Do what a frame says, and answer if it is a question.

        :param frame: The frame.
        """
        match frame.kind:
            case Kind.JOB:
                self._job = msgspec.convert(json.loads(frame.content), JoiningJob)
            case Kind.POSITIONS:
                self._positions = array("q", frame.content)
            case Kind.IDS:
                self._close()
                self._joining = JoiningHere(_there(self._job), ids_from_lines(frame.content), self._positions)
            case Kind.BEGIN:
                self._damage = None
                _there(self._joining).begin(**json.loads(frame.content))
            case Kind.DATA:
                part = Part.from_bytes(frame.content)
                self._try(lambda: _there(self._joining).take(self._memory, *part))
                self._send(Kind.TAKEN, b"")
            case Kind.ROLL_BACK:
                _there(self._joining).roll_back()
            case Kind.END | Kind.FINISH | Kind.WRITE:
                self._send(Kind.ANSWER, json.dumps(self._answer(frame)).encode())
            case Kind.ANSWER | Kind.READY | Kind.TAKEN:
                raise ValueError("An answer came without a question.")

    def _answer(self, question: Frame) -> dict[str, Any]:
        joining = _there(self._joining)
        if question.kind is Kind.END:
            ends_whole = self._try(joining.end)
            return {"damage": self._damage, "ends_whole": bool(ends_whole)}
        if question.kind is Kind.FINISH:
            joined = joining.finish()
            return {"tally": joined.tally.to_dict(), "open_positions": joined.open_positions, "bytes": joined.bytes}
        joining.write_to(**json.loads(question.content))
        self._close()
        return {}

    def _try(self, step: Callable[[], T]) -> T | None:
        if self._damage is None:
            try:
                return step()
            except DownloadError as error:
                self._damage = str(error)
        return None

    def _close(self) -> None:
        if self._joining is not None:
            self._joining.close()
        self._joining = None


def _there(value: T | None) -> T:
    if value is None:
        raise ValueError("The frames came in an order that makes no sense.")
    return value


def main(target: int, memory: int) -> None:
    """
    Join what standard input says.

    :param target: Descriptor of the pipe for answers. Standard output is not it: anything may print there.
    :param memory: Descriptor of the memory where pieces of files lie.
    """
    gc.disable()  # rows make no cycles, and looking for some takes its time
    send: Send = partial(frames.send, target)
    send(Kind.READY, b"")
    worker = Worker(slots.mapped(memory), send)
    for frame in frames.receive_all(0):
        worker.take(frame)
    os._exit(0)  # without tidying up memory that is given back all the same
