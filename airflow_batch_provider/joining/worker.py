"""
What a helper process does: ``main()`` joins one piece after the other, as it is told through its standard input.

It loads no Airflow, knows no connection and opens no network. It ends when its input does, which is when the task ends,
however that dies.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from airflow_batch_provider.core.joining_job import JoiningJob, ids_from_lines
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import frames
from airflow_batch_provider.joining.frames import Frame, Kind
from airflow_batch_provider.joining.here import JoiningHere

T = TypeVar("T")


class Worker:
    """
    Joins as it is told, frame by frame.

    A file with a damaged line is read to its end all the same; that it is damaged is the answer to its end.
    """

    def __init__(self) -> None:
        self._job: JoiningJob | None = None
        self._positions: array[int] = array("q")
        self._joining: JoiningHere | None = None
        self._damage: str | None = None

    def take(self, frame: Frame) -> dict[str, Any] | None:
        """
        Do what a frame says.

        :param frame: The frame.
        :returns: The answer, or None when none is expected.
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
                self._try(lambda: _there(self._joining).write(frame.content))
            case Kind.END:
                ends_whole = self._try(_there(self._joining).end)
                return {"damage": self._damage, "ends_whole": bool(ends_whole)}
            case Kind.ROLL_BACK:
                _there(self._joining).roll_back()
            case Kind.FINISH:
                joined = _there(self._joining).finish(**json.loads(frame.content))
                self._close()
                return {
                    "tally": joined.tally.to_dict(),
                    "open_positions": joined.open_positions,
                    "bytes": joined.bytes,
                }
            case Kind.ANSWER | Kind.READY:
                raise ValueError("An answer came without a question.")
        return None

    def _try(self, step: Callable[[], int]) -> int | None:
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


def serve(source: Iterable[Frame], answer: Callable[[bytes], None]) -> None:
    """
    Join until there are no more frames.

    :param source: The frames.
    :param answer: Sends an answer.
    """
    worker = Worker()
    for frame in source:
        found = worker.take(frame)
        if found is not None:
            answer(json.dumps(found).encode())


def main(target: int) -> None:
    """
    Join what standard input says.

    :param target: Descriptor of the pipe for answers. Standard output is not it: anything may print there.
    """
    frames.send(target, Kind.READY)
    serve(frames.receive_all(0), lambda content: frames.send(target, Kind.ANSWER, content))
