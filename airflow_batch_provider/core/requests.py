"""
One line of input -> a checked request, or problems with line number, custom_id and field.

A line is decoded only as far as needed and never shown: problems name places, not contents, because prompts stay out of
logs. Lines are split on ``\\n`` by the caller; other line separators (U+2028, U+0085) are ordinary characters in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import InputError

MAX_SHOWN_PROBLEMS = 10
UTF8_BOM = b"\xef\xbb\xbf"
_BRACE = ord("{")


class _Line(msgspec.Struct):
    """A well-formed line; ``body`` is passed through undecoded."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_decode_line = msgspec.json.Decoder(_Line).decode


class Problem(NamedTuple):
    """
    Something wrong with the input.

    :param line_number: Line, from 1; 0 for the file as a whole.
    :param text: What is wrong, without the data.
    :param custom_id: The request's id, where the line has one.
    :param field: The field concerned.
    """

    line_number: int
    text: str
    custom_id: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        return f"line {self.line_number}: {self.text}" if self.line_number else self.text


@dataclass
class RequestChecker:
    """
    Checks the lines of one batch's input file, in one pass.

    Memory holds the custom_ids of one batch and the first problems, never lines.

    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None takes that of the first request.
    """

    limits: BatchLimits
    endpoint: str | None = None
    requests: int = 0
    total_bytes: int = 0
    problem_count: int = 0
    needs_cleaning: bool = False
    problems: list[Problem] = field(default_factory=list)
    _line_of_id: dict[str, int] = field(default_factory=dict, repr=False)
    _line_number: int = 0

    def feed(self, lines: Iterable[bytes]) -> None:
        """
        Check the next lines.

        :param lines: Lines with or without their ``\\n``.
        """
        for line in lines:
            self._line_number += 1
            if self._line_number > 1 and line.endswith(b"}\n"):  # clean as it is, like nearly all lines
                self._check(line)
                continue
            cleaned = clean_line(line, is_first=self._line_number == 1)
            if cleaned != line:  # not by length: a last line may lose a blank and gain its line break
                self.needs_cleaning = True
            if cleaned:
                self._check(cleaned)

    def result(self, name: str) -> CheckedRequests:
        """
        End the check.

        :param name: Name of the input, for the error text.
        :raises InputError: Something is wrong; lists the first ten problems and their number.
        """
        if self.requests > self.limits.max_requests:
            self._add(0, f"{self.requests:,} requests, but the service takes {self.limits.max_requests:,} per batch")
        if self.total_bytes > self.limits.max_bytes:
            self._add(0, f"{self.total_bytes:,} bytes, but the service takes {self.limits.max_bytes:,} per batch")
        if not self.requests and not self.problem_count:
            self._add(0, "no requests in it")
        if self.problem_count:
            raise input_error(name, self.problems, self.problem_count, self._line_number)
        return CheckedRequests(self.requests, self.total_bytes, self.endpoint or "", self.needs_cleaning)

    def _check(self, line: bytes) -> None:
        self.requests += 1
        self.total_bytes += len(line)
        try:
            if not line.isascii():
                line.decode()  # passing the body through does not check its UTF-8
            request = _decode_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            for problem in diagnose(line, self._line_number):
                self._add(*problem)
            return
        if mismatch := self._mismatch(request):
            self._add(*mismatch)

    def _mismatch(self, request: _Line) -> Problem | None:
        number, custom_id = self._line_number, request.custom_id
        if not custom_id:
            return Problem(number, '"custom_id" is empty', None, "custom_id")
        if self.requests > self.limits.max_requests:
            return None  # refused anyway, for its size: memory stays that of one batch
        if (first := self._line_of_id.setdefault(custom_id, number)) != number:
            return Problem(
                number, f'custom_id "{shorten(custom_id)}" was already used in line {first}', custom_id, "custom_id"
            )
        if request.method != "POST":
            return Problem(number, f'"method" is "{shorten(request.method)}" but must be "POST"', custom_id, "method")
        if memoryview(request.body)[0] != _BRACE:
            return Problem(number, '"body" is not a JSON object', custom_id, "body")
        if not request.url:
            return Problem(number, '"url" is empty', custom_id, "url")
        if self.endpoint is None:
            self.endpoint = request.url
        if request.url != self.endpoint:
            asked, given = shorten(request.url), shorten(self.endpoint)
            return Problem(number, f'"url" is "{asked}" but the batch is for "{given}"', custom_id, "url")
        return None

    def _add(self, line_number: int, text: str, custom_id: str | None = None, field_name: str | None = None) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_SHOWN_PROBLEMS:
            self.problems.append(Problem(line_number, text, custom_id, field_name))


class CheckedRequests(NamedTuple):
    """
    What a check found out about a good file.

    :param requests: Number of requests.
    :param bytes: Size after cleaning: lines end with one ``\\n``, no blank lines, no byte order mark.
    :param endpoint: The one endpoint of all requests.
    :param needs_cleaning: True when the file as it stands is not that clean.
    """

    requests: int
    bytes: int
    endpoint: str
    needs_cleaning: bool


def clean_line(line: bytes, *, is_first: bool) -> bytes:
    """
    A line as services want it: no byte order mark, no carriage return, one ``\\n``; blank lines become empty.

    :param line: The line.
    :param is_first: True for the first line of a file, where a byte order mark may stand.
    """
    if is_first and line.startswith(UTF8_BOM):
        line = line[len(UTF8_BOM) :]
    if line.endswith(b"}\n"):
        return line
    stripped = line.strip(b" \t\r\n")
    return stripped + b"\n" if stripped else b""


def diagnose(line: bytes, line_number: int, *, needs_id: bool = True) -> list[Problem]:
    """
    Say what is wrong with a line that is not a well-formed request.

    :param line: The line.
    :param line_number: Its number, from 1.
    :param needs_id: True when a missing custom_id is a problem.
    """
    try:
        line.decode()
        data = msgspec.json.decode(line)
    except UnicodeDecodeError as error:
        return [Problem(line_number, f"not UTF-8 (at byte {error.start + 1})")]
    except RecursionError:
        return [Problem(line_number, "nested too deeply")]
    except msgspec.DecodeError as error:
        return [Problem(line_number, f"not JSON ({_json_fault(str(error), line)})")]
    if not isinstance(data, dict):
        return [Problem(line_number, "not a JSON object")]
    custom_id = data.get("custom_id")
    known = custom_id if isinstance(custom_id, str) else None
    problems = [
        Problem(line_number, text, known, name)
        for name in ("custom_id", "method", "url", "body")
        if (name in data or name != "custom_id" or needs_id) and (text := _field_fault(data, name))
    ]
    # A field that stands twice, badly and then well, leaves no trace in the decoded object.
    return problems or [Problem(line_number, "not a well-formed request (is a field there twice?)", known)]


def input_error(name: str, problems: list[Problem], count: int, lines: int) -> InputError:
    """
    Build the exception for bad input.

    :param name: Name of the input.
    :param problems: The first problems.
    :param count: How many there are.
    :param lines: Lines looked at.
    """
    shown = f"Shown: the first {len(problems)} of {count:,}." if count > len(problems) else f"Shown: all {count}."
    noun = "problem" if count == 1 else "problems"
    text = "\n".join(f"  {problem}" for problem in problems)
    return InputError(
        f"{name} has {count:,} {noun} in {lines:,} lines; nothing was sent.\n{text}\n"
        f"Fix the file and run again. ({shown})",
        problems,
    )


def _field_fault(data: dict[str, Any], name: str) -> str | None:
    if name not in data:
        return f'"{name}" is missing'
    if name == "body":
        if not isinstance(data[name], dict):
            return '"body" is not a JSON object'
        return None if isinstance(data[name].get("model"), str | None) else '"model" in "body" is not a string'
    return None if isinstance(data[name], str) else f'"{name}" is not a string'


def _json_fault(text: str, line: bytes) -> str:
    """Put msgspec's words into ours: a column counted from 1, and none of the data."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        pass
    else:
        return "NaN, Infinity or half a surrogate pair, which many services refuse"
    if "truncated" in text:
        return f"unexpected end of data at column {len(line.rstrip()) + 1}"
    position = re.search(r"\(byte (\d+)\)", text)
    reason = re.sub(r"\s*\(byte \d+\)", "", text.removeprefix("JSON is malformed: "))
    return f"{reason} at column {int(position.group(1)) + 1}" if position else reason


def shorten(text: str) -> str:
    text = text if len(text) <= 64 else text[:63] + "…"
    return "".join(char if char.isprintable() else "?" for char in text)
