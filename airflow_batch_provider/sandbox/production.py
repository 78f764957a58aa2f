"""
The results of a batch, written once, line by line, when the batch reaches its end.

Memory stays flat whatever the batch's size: a line is read, answered and pushed through a small shuffling window.
The order of the output is deliberately not that of the input, because no service promises it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from airflow_batch_provider.sandbox.answers import Answer, Row, answer, refusal
from airflow_batch_provider.sandbox.directives import Directives
from airflow_batch_provider.sandbox.lines import read_lines

WINDOW_LINES = 256
WINDOW_BYTES = 4 * 1024 * 1024
FAIL_CODES = (400, 429, 500)

UNFINISHED = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed before the batch was cancelled."),
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """
    What there is to write.

    :param batch_id: The batch.
    :param endpoint: Its endpoint.
    :param rows: How many requests its input has.
    :param share: The share of them that were done when it ended.
    :param ending: ``completed``, ``expired`` or ``cancelled``.
    :param ended_at: When, in epoch seconds.
    :param directives: What the batch's metadata asked for.
    :param max_line_bytes: The longest line of the input.
    """

    batch_id: str
    endpoint: str
    rows: int
    share: float
    ending: str
    ended_at: int
    directives: Directives
    max_line_bytes: int


class Tally(msgspec.Struct):
    """How many lines each of the two files has."""

    completed: int = 0
    failed: int = 0


class _Request(msgspec.Struct):
    custom_id: str
    body: dict[str, Any]


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class Spread:
    """
    Picks exactly ``count`` of ``total`` items, evenly spread over them.

    :param count: How many to pick.
    :param total: How many there are.
    """

    def __init__(self, count: int, total: int) -> None:
        self._count = count
        self._total = max(total, 1)
        self._seen = 0

    def takes_next(self) -> bool:
        """Say whether the next item is one of those picked."""
        before = self._seen * self._count // self._total
        self._seen += 1
        return self._seen * self._count // self._total > before


class ShuffledWriter:
    """
    Writes lines in another order than they come, holding back a window of them.

    :param file: Where they go.
    :param dice: Chooses the order.
    """

    def __init__(self, file: BinaryIO, dice: random.Random) -> None:
        self._file = file
        self._dice = dice
        self._window: list[bytes] = []
        self._held = 0
        self._written = 0

    def push(self, line: bytes) -> None:
        """Take a line."""
        self._window.append(line)
        self._held += len(line)
        while len(self._window) > WINDOW_LINES or self._held > WINDOW_BYTES:
            self._write_one()

    def _write_one(self) -> None:
        chosen = self._dice.randrange(len(self._window))
        self._window[chosen], self._window[-1] = self._window[-1], self._window[chosen]
        line = self._window.pop()
        self._held -= len(line)
        self._written += 1
        self._file.write(line)

    def finish(self) -> None:
        """Write what is still held back."""
        order = list(range(len(self._window)))
        self._dice.shuffle(order)
        if self._written == 0 and order == sorted(order):
            # The dice happened to leave a small file as it was.
            order.reverse()
        self._file.writelines(self._window[position] for position in order)
        self._window.clear()


def produce(
    source: Path, output: Path, errors: Path, job: Job, *, seed: int | None, tick: Callable[[], None] = lambda: None
) -> Tally:
    """
    Write a batch's two result files.

    :param source: The batch's input file.
    :param output: Where the rows go that succeeded.
    :param errors: Where the others go.
    :param job: What to write.
    :param seed: Makes the order repeatable.
    :param tick: Called every few lines; it may raise to stop the work.
    """
    tally = Tally()
    dice = random.Random(job.batch_id if seed is None else seed)
    with output.open("wb") as output_file, errors.open("wb") as error_file:
        good, bad = ShuffledWriter(output_file, dice), ShuffledWriter(error_file, dice)
        for succeeded, line in _result_lines(source, job, tick):
            (good if succeeded else bad).push(line)
            tally.completed += succeeded
            tally.failed += not succeeded
        good.finish()
        bad.finish()
    return tally


def _result_lines(source: Path, job: Job, tick: Callable[[], None]) -> Iterator[tuple[bool, bytes]]:
    choose = _Chooser(job)
    end = b"\r\n" if job.directives.crlf else b"\n"
    for number, raw in read_lines(source, max_bytes=job.max_line_bytes, tick=tick):
        request = _decode(raw)
        fate = choose.next_fate()
        if fate == "missing":
            continue
        result = _result(job, Row(number - 1, request.custom_id, request.body), fate)
        yield fate != "unfinished" and result["response"]["status_code"] == 200, _encode(result) + end


class _Chooser:
    """Deals out the fates that the directives ask for; each share is of what the one before left."""

    def __init__(self, job: Job) -> None:
        missing = round(job.rows * job.directives.missing_rows)
        present = job.rows - missing
        # A share comes from times; the tiny addition keeps 0.3 of 10 rows from being 2.9999.
        done = int(present * job.share + 1e-6)
        self._missing = Spread(missing, job.rows)
        self._done = Spread(done, present)
        self._failing = Spread(round(done * job.directives.fail_rows), done)

    def next_fate(self) -> str:
        if self._missing.takes_next():
            return "missing"
        if not self._done.takes_next():
            return "unfinished"
        return "failing" if self._failing.takes_next() else "answered"


def _result(job: Job, row: Row, fate: str) -> dict[str, Any]:
    mark = f"{job.batch_id[-24:]}{row.index:08x}"
    response: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    if fate == "unfinished":
        code, message = UNFINISHED[job.ending]
        error = {"code": code, "message": message}
    else:
        response = _response(job, row, fate, request_id=f"req_{mark}")
    return {"id": f"batch_req_{mark}", "custom_id": row.custom_id, "response": response, "error": error}


def _response(job: Job, row: Row, fate: str, *, request_id: str) -> dict[str, Any]:
    if fate == "failing":
        given: Answer = refusal(job.directives.fail_code or FAIL_CODES[row.index % len(FAIL_CODES)])
    else:
        given = answer(job.endpoint, row, now=job.ended_at)
    body: Any = _encode(given.body).decode() if job.directives.string_body else given.body
    return {"status_code": given.status, "request_id": request_id, "body": body}
