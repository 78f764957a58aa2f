"""
One line of a result file -> what became of a request.

Lenient on purpose: services differ in nearly every field (a body that is a JSON string, errors without a code, a status
as text). Only ``custom_id`` is needed to join a row; what cannot be read counts as failed and keeps its error.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec

NULL = b"null"
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_PLAIN_CODE = re.compile(r"[A-Za-z0-9._:/ -]{1,64}").fullmatch
_RETRYABLE_CODES = frozenset({"rate_limit_exceeded", "server_error", "internal_error", "timeout", "overloaded"})


class Outcome(StrEnum):
    """What became of a request; each ends in exactly one of these."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INVALID = "invalid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    MISSING = "missing"


class Answer(NamedTuple):
    """
    A result line, read.

    :param custom_id: The request it belongs to; None when the line does not say.
    :param outcome: What became of the request.
    :param is_retryable: True when sending the request again may end better.
    :param response: The service's body as JSON, or ``null``.
    :param error: The error as JSON, or ``null``.
    :param input_tokens: Billed input, 0 when not told.
    :param output_tokens: Billed output, 0 when not told.
    :param model: Model that answered, or None.
    :param reason: Short text for counting failures, empty for success.
    """

    custom_id: str | None
    outcome: Outcome
    is_retryable: bool
    response: bytes
    error: bytes
    input_tokens: int
    output_tokens: int
    model: str | None
    reason: str


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class _Body(msgspec.Struct, gc=False):
    """The body of a plain success; some services say 200 and put an error into it."""

    model: str | None = None
    usage: _Usage | None = None
    error: None = None


class _Response(msgspec.Struct, gc=False):
    status_code: Annotated[int, msgspec.Meta(ge=200, lt=300)]
    body: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    """A plain success; any other line does not decode and gets a second look."""

    custom_id: str
    response: _Response
    error: None = None


_line, _body = msgspec.json.Decoder(_Line), msgspec.json.Decoder(_Body)
decode_lines, decode_bodies = _line.decode_lines, _body.decode_lines


def read_answer(line: bytes) -> Answer:
    """
    Read a result line.

    :param line: A whole JSON object.
    """
    try:
        row = _line.decode(line)
        body = bytes(row.response.body)
        known = _body.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_odd(line)
    usage = known.usage or _NO_USAGE
    return Answer(
        row.custom_id, Outcome.SUCCEEDED, False, body, NULL,
        usage.prompt_tokens or usage.input_tokens, usage.completion_tokens or usage.output_tokens,
        known.model, "",
    )  # fmt: skip


def missing_answer(custom_id: str) -> Answer:
    """
    Make the answer for a request the service never reported.

    :param custom_id: The request.
    """
    error = b'{"code":"missing","message":"The service reported no row for this request."}'
    return Answer(custom_id, Outcome.MISSING, True, NULL, error, 0, 0, None, "missing")


def refused_answer(custom_id: str, code: str, message: str) -> Answer:
    """
    Make the answer for a request whose batch the service refused as a whole; nothing ran.

    :param custom_id: The request.
    :param code: The service's code.
    :param message: The service's words.
    """
    error = json.dumps({"code": code, "message": message}).encode()
    return Answer(custom_id, Outcome.FAILED, False, NULL, error, 0, 0, None, _plain_code(code) or "batch_failed")


def ended_answer(custom_id: str, outcome: Outcome) -> Answer:
    """
    Make the answer for a request whose batch expired or was cancelled before its turn, and that no row tells of.

    :param custom_id: The request.
    :param outcome: How the batch ended.
    """
    error = json.dumps({"code": f"batch_{outcome.value}", "message": f"The batch was {outcome.value} first."}).encode()
    return Answer(custom_id, outcome, True, NULL, error, 0, 0, None, outcome.value)


def encode(value: Any) -> bytes:
    """
    Write what a service said as JSON, whatever it is.

    :param value: Decoded JSON.
    """
    if value is None:
        return NULL
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        # NaN and infinite numbers are no JSON: null stands for them. Half a surrogate pair is written as an escape.
        finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(finite, separators=(",", ":")).encode()


def encode_tail(answer: Answer, round_number: int, batch_id_json: bytes) -> bytes:
    """
    Write the result row of a request, without its head (index and custom_id).

    :param answer: What became of the request.
    :param round_number: The round that decided.
    :param batch_id_json: The batch as JSON.
    """
    usage = b'{"input_tokens":%d,"output_tokens":%d}' % (answer.input_tokens, answer.output_tokens)
    return (
        b',"outcome":"%b","response":%b,"error":%b,"usage":%b,"model":%b,"round":%d,"batch_id":%b}\n'
    ) % (
        answer.outcome.encode(), answer.response, answer.error,
        usage if answer.input_tokens or answer.output_tokens else NULL,
        encode(answer.model), round_number, batch_id_json,
    )  # fmt: skip


def _read_odd(line: bytes) -> Answer:
    """Any line that is not a plain success."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        return Answer(None, Outcome.FAILED, True, NULL, NULL, 0, 0, None, "unreadable row")
    custom_id = row.get("custom_id") if isinstance(row.get("custom_id"), str) else None
    response: dict[str, Any] = row["response"] if isinstance(row.get("response"), dict) else {}
    body = _object(response.get("body"))
    error = row.get("error") or (body.get("error") if isinstance(body, dict) else None)
    status = _to_int(response.get("status_code"))
    code = _code(error)
    if code in ("batch_expired", "batch_cancelled"):
        outcome = Outcome.EXPIRED if code == "batch_expired" else Outcome.CANCELLED
        return Answer(custom_id, outcome, True, NULL, encode(error), 0, 0, None, outcome.value)
    if not error and body is not None and (status is None or 200 <= status < 300):
        usage: dict[str, Any] = body["usage"] if isinstance(body, dict) and isinstance(body.get("usage"), dict) else {}
        model = body.get("model") if isinstance(body, dict) and isinstance(body.get("model"), str) else None
        spent = [_to_int(usage.get(a)) or _to_int(usage.get(b)) or 0 for a, b in _USAGE_FIELDS]
        return Answer(custom_id, Outcome.SUCCEEDED, False, encode(body), NULL, spent[0], spent[1], model, "")
    is_retryable = _may_pass(status, code)
    reason = " ".join(str(part) for part in (_http_status(status), code) if part) or "no reason given"
    error = error or {"message": "The service gives no reason."}
    return Answer(custom_id, Outcome.FAILED, is_retryable, encode(body), encode(error), 0, 0, None, reason)


def _may_pass(status: int | None, code: str | None) -> bool:
    """Say whether a failure may end better the next time."""
    if code in _RETRYABLE_CODES:
        return True
    if status is None or status < 300:  # says nothing of a failure; some services give the right one as code
        status = _http_status(code)
    if status is None:
        # Without a status or code nobody knows whether it would fail again: one more try is cheap, a lost row is not.
        return code is None
    return status in _RETRYABLE_STATUS or status >= 500


def _object(body: Any) -> Any:
    """A body, also when it was sent as a JSON string (OGX)."""
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def _code(error: Any) -> str | None:
    if not isinstance(error, dict):
        return None
    code = _plain_code(error.get("code")) or _plain_code(error.get("type"))
    # OGX says only "request_failed" and hides the status in the text: that is no code to judge by.
    return None if code == "request_failed" else code


def _plain_code(value: Any) -> str | None:
    """A code, when it is one. It goes into journal, log and XCom: long or odd ones may hold words of a prompt."""
    if not value or isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) if _PLAIN_CODE(str(value)) else None


def _http_status(value: Any) -> int | None:
    """A number that may be a status: three digits."""
    number = _to_int(value)
    return number if number is not None and 100 <= number <= 999 else None


def _to_int(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


_NO_USAGE = _Usage()
_USAGE_FIELDS = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
