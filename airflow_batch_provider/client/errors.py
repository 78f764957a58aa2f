"""
Answers that say no, as exceptions.

A Portkey gateway speaks in several voices (verified with 1.15.2): the service's own ``{"error": {...}}``, its own
``{"status": "failure", "message": ...}``, wrapped text as ``{"html-message": ...}``, ``{"message": ..., "ok": false}``
(unknown route), bare text, and nothing at all. Other servers add ``{"detail": ...}``. This is the only module that
looks into such texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.wording import HIDDEN, MAX_CODE, shorten
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    AuthenticationError,
    GatewayError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

MISSING_PROVIDER = "gateway_missing_provider"
INVALID_PROVIDER = "gateway_invalid_provider"
INVALID_HOST = "gateway_invalid_custom_host"
INVALID_CONFIG = "gateway_invalid_config"
UNSUPPORTED = "gateway_unsupported_by_provider"
UPSTREAM_DOWN = "gateway_cannot_reach_service"
UNKNOWN_ROUTE = "gateway_unknown_route"
NO_REASON = "gateway_gives_no_reason"
DOWNLOAD_BROKEN = "gateway_cannot_pass_on_file"

# The gateway has no error codes of its own: its fixed sentences become ours, here and nowhere else.
_GATEWAY_SENTENCES = (
    ("Either x-portkey-config or x-portkey-provider header is required", MISSING_PROVIDER),
    ("Either x-portkey-provider needs to be passed", MISSING_PROVIDER),
    ("Invalid provider passed", INVALID_PROVIDER),
    ("Invalid custom host", INVALID_HOST),
    ("Invalid config passed", INVALID_CONFIG),
    (" is not supported by ", UNSUPPORTED),
    ("Something went wrong", NO_REASON),
    ("fetch failed", UPSTREAM_DOWN),
)
# A 429 that no waiting ends.
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_USUAL_REASONS = (
    " It gives no reason; the usual ones: the service behind it answered with something that is not JSON, or the "
    "provider cannot run batches."
)
_FETCH_CAUSE = re.compile(r"fetch failed Cause: (?:\w*Error:?)?(.*?)(?:Name: \w+)?$")


class Refusal(NamedTuple):
    """
    What an error answer says.

    :param message: In the service's words, cut to a readable length.
    :param code: The service's code, or one of this module for the gateway's fixed sentences.
    :param by_gateway: True when the gateway itself speaks, not the service behind it.
    """

    message: str
    code: str | None
    by_gateway: bool


def error_from_answer(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    subject: str,
    settings: ServiceSettings,
    *,
    is_paid: bool = False,
) -> ApiStatusError:
    """
    Build the exception for an error answer.

    :param status: HTTP status, 300 or higher.
    :param headers: Answer headers, looked up in lower case.
    :param body: The answer's body.
    :param subject: What the call was about.
    :param settings: For the secrets to wipe from the text.
    :param is_paid: True when the call spends something: only then is an empty account the reason for good.
    """
    refusal = read_refusal(status, headers, body, settings.redact)
    words = f"{status}: {refusal.message.rstrip('.')}"
    details: tuple[Any, ...] = (
        status,
        refusal.code,
        headers.get("x-request-id"),
        retry_after_seconds(headers),
        # "-1" means that all the gateway's own retries were used up.
        headers.get("x-portkey-retry-attempt-count", "0") not in ("0", ""),
        refusal.message,
    )
    if 300 <= status < 400:
        return ApiStatusError(
            f"{settings.base_url} answers with a redirect ({status}), which is not followed so that the key goes "
            "nowhere else. Put the final URL into the connection's base URL.",
            *details,
        )
    if status in (401, 403):
        return AuthenticationError(_refused_key(status, words, settings), *details)
    if status in (404, 410):
        return NotFoundError(f"The service does not know {subject} ({words}).", *details)
    if status == 429 and is_paid and refusal.code in _SPENT:
        return ApiStatusError(
            f"The service refused {subject}, because the account has nothing left to spend ({words}). Waiting does not "
            "change that: add credit or raise the account's limit, then run the task again.",
            *details,
        )
    if status == 429:
        return RateLimitError(f"The service wants fewer calls ({subject}, {words}).", *details)
    if status >= 500 or status in (408, 425):
        return _fault(refusal, subject, words, details)
    who = "gateway" if refusal.by_gateway else "service"
    return ApiStatusError(f"The {who} refused {subject} ({words}).", *details)


def _fault(refusal: Refusal, subject: str, words: str, details: tuple[Any, ...]) -> ApiStatusError:
    if refusal.code == UPSTREAM_DOWN:
        return ServerError(f"The gateway got no answer from the service behind it ({subject}, {words}).", *details)
    if refusal.code == NO_REASON:
        # Often passes: an answer of the service that was cut or is a proxy's text becomes this.
        return ServerError(f"The gateway could not handle {subject} ({words}).{_USUAL_REASONS}", *details)
    if refusal.by_gateway:
        return GatewayError(f"The gateway could not handle {subject} ({words}).", *details)
    return ServerError(f"The service failed on {subject} ({words}).", *details)


def _refused_key(status: int, words: str, settings: ServiceSettings) -> str:
    if not settings.has_key and status == 401:
        return f"The service wants an API key ({words}). Put it into the connection's password field."
    return f"The service refused the key ({words}). The key is in the connection's password field."


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str] = str) -> Refusal:
    """
    Find the message in an error body of any family.

    :param status: HTTP status.
    :param headers: Answer headers, looked up in lower case.
    :param body: The answer's body.
    :param redact: Wipes secrets from a text; before it is cut, because half a key is found by nobody.
    """
    own_fault = headers.get("x-portkey-gateway-exception") == "true"
    try:
        data = without_wrapping(json.loads(body))
    except (ValueError, RecursionError):
        data = body.decode(errors="replace")
    message, code = _message_and_code(data)
    own_fault = own_fault or (isinstance(data, dict) and data.get("status") == "failure")
    gateway_code = _gateway_code(data, message, own_fault=own_fault)
    if gateway_code == UPSTREAM_DOWN:
        # The service's outage in the gateway's words, which passes.
        return Refusal(_fetch_cause(shorten(redact(message))), gateway_code, False)
    text = shorten(redact(message)) or (HIDDEN if message.strip() else _empty_text(status))
    return Refusal(text, gateway_code or (redact(code)[:MAX_CODE] if code else None), own_fault or bool(gateway_code))


def without_wrapping(data: Any) -> Any:
    """Take JSON out of ``{"html-message": "..."}``, in which the gateway puts all that a service sends as text."""
    try:
        return json.loads(data["html-message"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return data


def _gateway_code(data: Any, message: str, *, own_fault: bool) -> str | None:
    if isinstance(data, dict) and "error" in data:
        return None  # the service's words, which may happen to hold the gateway's
    if data == {"message": "Not Found", "ok": False}:
        return UNKNOWN_ROUTE
    for sentence, code in _GATEWAY_SENTENCES:
        if sentence in message and (own_fault or code not in (UNSUPPORTED, NO_REASON)):
            return code
    return None


def _message_and_code(data: Any) -> tuple[str, str | None]:
    if isinstance(data, str):
        return data, None
    if not isinstance(data, dict):
        return "", None
    error = data.get("error")
    if isinstance(error, dict):
        code = error.get("code") or error.get("type")
        return _without_prefix(data, str(error.get("message") or "")), str(code) if _is_code(code) else None
    if isinstance(error, str):
        return error, None
    for key in ("html-message", "message", "detail"):
        if data.get(key):
            value = _reasons_alone(data[key])
            return (value if isinstance(value, str) else json.dumps(value)) + _gateway_reasons(data), None
    return "", None


def _is_code(value: Any) -> bool:
    return isinstance(value, str | int) and bool(value)


def _reasons_alone(value: Any) -> Any:
    """The sentences of FastAPI's ``[{"loc": ..., "msg": ..., "input": ...}]``; ``input`` quotes the request."""
    entries = value if isinstance(value, list) else []
    return "; ".join(str(entry["msg"]) for entry in entries if isinstance(entry, dict) and "msg" in entry) or value


def _without_prefix(data: Mapping[str, Any], message: str) -> str:
    """The gateway puts "openai error: " before the service's words, and "undefined" where it found none."""
    prefix = f"{data.get('provider')} error: "
    if not message.startswith(prefix):
        return message
    message = message.removeprefix(prefix)
    return "" if message == "undefined" else message


def _gateway_reasons(data: Mapping[str, Any]) -> str:
    """What the gateway dislikes in a config: ``["path: retry,attempts, message: Expected number"]``."""
    reasons = data.get("errors")
    if data.get("status") != "failure" or not isinstance(reasons, list):
        return ""
    found = [re.sub(r"^path: ([^ ]*), message: ", r"\1: ", reason) for reason in reasons if isinstance(reason, str)]
    return "".join(f": {reason.removeprefix(': ')}" for reason in found[:3])


def _fetch_cause(text: str) -> str:
    """``Message: fetch failed Cause: Error: connect ECONNREFUSED ... Name: TypeError`` without what says nothing."""
    match = _FETCH_CAUSE.search(text)
    return (match and match[1].strip()) or "fetch failed"


def _empty_text(status: int) -> str:
    known = {
        408: "no text; through a gateway this means that the upload took over 300 s: make the file smaller",
        413: "the body is too large",
        431: "the request headers are too large; through a gateway they may have 16 KiB",
    }
    return known.get(status, "no text")


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """
    Read ``Retry-After`` (seconds or a date) or OpenAI's ``retry-after-ms``.

    :param headers: Answer headers, looked up in lower case. A date is read against the answer's own ``Date``, so that
        a wrong clock on this side does not matter.
    """
    if (milliseconds := _to_float(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    if (seconds := _to_float(value)) is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, (parsedate_to_datetime(value or "") - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None


def _to_float(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if abs(number) < 1e9 else None
