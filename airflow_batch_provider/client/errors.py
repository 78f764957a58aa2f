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
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.exceptions import (
    ApiStatusError,
    AuthenticationError,
    GatewayError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

MAX_MESSAGE = 300

MISSING_PROVIDER = "gateway_missing_provider"
INVALID_PROVIDER = "gateway_invalid_provider"
INVALID_HOST = "gateway_invalid_custom_host"
INVALID_CONFIG = "gateway_invalid_config"
UNSUPPORTED = "gateway_unsupported_by_provider"
UPSTREAM_DOWN = "gateway_cannot_reach_service"
DOWNLOAD_BROKEN = "gateway_cannot_pass_on_file"

# The gateway has no error codes of its own: its fixed sentences become ours, here and nowhere else.
_GATEWAY_SENTENCES = (
    ("Either x-portkey-config or x-portkey-provider header is required", MISSING_PROVIDER),
    ("Invalid provider passed", INVALID_PROVIDER),
    ("Invalid custom host", INVALID_HOST),
    ("Invalid config passed", INVALID_CONFIG),
    (" is not supported by ", UNSUPPORTED),
    ("fetch failed", UPSTREAM_DOWN),
)


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
    status: int, headers: Mapping[str, str], body: bytes, subject: str, settings: ServiceSettings
) -> ApiStatusError:
    """
    Build the exception for an error answer.

    :param status: HTTP status, 300 or higher.
    :param headers: Answer headers, looked up in lower case.
    :param body: The answer's body.
    :param subject: What the call was about.
    :param settings: For the secrets to wipe from the text.
    """
    refusal = read_refusal(status, headers, body)
    said = settings.redact(refusal.message)
    details: tuple[Any, ...] = (
        status,
        refusal.code,
        headers.get("x-request-id"),
        retry_after_seconds(headers),
        # "-1" means that all the gateway's own retries were used up.
        headers.get("x-portkey-retry-attempt-count", "0") not in ("0", ""),
        said,
    )
    if 300 <= status < 400:
        return ApiStatusError(
            f"{settings.base_url} answers with a redirect ({status}), which is not followed so that the key goes "
            "nowhere else. Put the final URL into the connection's base URL.",
            *details,
        )
    if status in (401, 403):
        return AuthenticationError(_refused_key(status, said, settings), *details)
    if status in (404, 410):
        return NotFoundError(f"The service does not know {subject} ({status}: {said}).", *details)
    if status == 429:
        return RateLimitError(f"The service wants fewer calls ({subject}, 429: {said}).", *details)
    if status >= 500 and refusal.by_gateway:
        return GatewayError(f"The gateway could not handle {subject} ({status}: {said}).", *details)
    if status >= 500 or status in (408, 425):
        return ServerError(f"The service failed on {subject} ({status}: {said}).", *details)
    return ApiStatusError(f"The service refused {subject} ({status}: {said}).", *details)


def _refused_key(status: int, said: str, settings: ServiceSettings) -> str:
    if not settings.has_key and status == 401:
        return f"The service wants an API key ({status}: {said}). Put it into the connection's password field."
    return f"The service refused the key ({status}: {said}). The key is in the connection's password field."


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """
    Find the message in an error body of any family.

    :param status: HTTP status.
    :param headers: Answer headers, looked up in lower case.
    :param body: The answer's body.
    """
    own_fault = headers.get("x-portkey-gateway-exception") == "true"
    try:
        data = json.loads(body)
    except ValueError:
        data = body.decode(errors="replace")
    message, code = _message_and_code(data)
    own_fault = own_fault or (isinstance(data, dict) and data.get("status") == "failure")
    for sentence, gateway_code in _GATEWAY_SENTENCES:
        if sentence in message:
            # "fetch failed" is the service's outage in the gateway's words, and passes.
            return Refusal(_shorten(message), gateway_code, gateway_code != UPSTREAM_DOWN)
    return Refusal(_shorten(message) or _empty_text(status), code, own_fault)


def _message_and_code(data: Any) -> tuple[str, str | None]:
    if isinstance(data, str):
        return data, None
    if not isinstance(data, dict):
        return "", None
    error = data.get("error")
    if isinstance(error, dict):
        code = error.get("code") or error.get("type")
        return str(error.get("message") or ""), str(code) if code else None
    if isinstance(error, str):
        return error, None
    for key in ("html-message", "message", "detail"):
        if data.get(key):
            value = data[key]
            return value if isinstance(value, str) else json.dumps(value), None
    return "", None


def _shorten(message: str) -> str:
    """One readable line. What follows a brace or bracket may be a quoted request, and prompts stay out of logs."""
    text = re.sub(r"<[^>]*>", " ", message)
    text = re.split(r"[{\[]", text, maxsplit=1)[0]
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


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
