"""Wire shapes: what services send becomes our values, leniently. Nothing else in the package reads a service's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pendulum
from pendulum import DateTime

from airflow_batch_provider.client.wording import HIDDEN, MAX_CODE, shorten
from airflow_batch_provider.core.batches import Batch, BatchProblem, RemoteFile, RequestCounts
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiResponseError

T = TypeVar("T")

# No date this large fits a calendar of four-digit years, in milliseconds.
_TIME_ENDS_AT = 2.5e14
# No clock in seconds reaches this before the year 5138: larger numbers are milliseconds (Bedrock, Vertex, Cohere).
_MILLISECONDS_FROM = 1e11

_BATCH_KEYS = frozenset(
    "id object status endpoint input_file_id output_file_id error_file_id request_counts errors metadata created_at "
    "in_progress_at completed_at failed_at expired_at cancelled_at expires_at".split()
)
_FILE_KEYS = frozenset("id object filename bytes purpose status created_at expires_at".split())


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    One answer of a list route.

    :param items: What it lists.
    :param next_after: Cursor of the next page, or None at the end.
    """

    items: tuple[T, ...]
    next_after: str | None


def batch_from_wire(data: Any) -> Batch:
    """
    Read a batch object.

    :param data: Decoded JSON of a batch.
    :raises ApiResponseError: It has no id, so it is not a batch.
    """
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not data["id"]:
        raise ApiResponseError("The service's answer is not a batch (it has no id).")
    ended = ("completed_at", "failed_at", "expired_at", "cancelled_at")
    raw_status = data.get("status")
    return Batch(
        id=data["id"],
        status=BatchStatus.from_wire(raw_status),
        raw_status=raw_status if isinstance(raw_status, str) else None,
        endpoint=_text(data.get("endpoint")),
        input_file_id=_text(data.get("input_file_id")),
        output_file_id=_text(data.get("output_file_id")),
        error_file_id=_text(data.get("error_file_id")),
        counts=_counts(data.get("request_counts")),
        problems=_problems(data.get("errors")),
        metadata=_metadata(data),
        created_at=moment_from_wire(data.get("created_at")),
        in_progress_at=moment_from_wire(data.get("in_progress_at")),
        ended_at=next((m for key in ended if (m := moment_from_wire(data.get(key)))), None),
        expires_at=moment_from_wire(data.get("expires_at")),
        extra={key: value for key, value in data.items() if key not in _BATCH_KEYS},
    )


def file_from_wire(data: Any) -> RemoteFile:
    """
    Read a file object.

    :param data: Decoded JSON of a file.
    :raises ApiResponseError: It has no id, so it is not a file.
    """
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not data["id"]:
        raise ApiResponseError("The service's answer is not a file (it has no id).")
    return RemoteFile(
        id=data["id"],
        filename=_text(data.get("filename")),
        bytes=_number(data.get("bytes")),
        purpose=_text(data.get("purpose")),
        status=_text(data.get("status")),
        created_at=moment_from_wire(data.get("created_at", data.get("createdAt"))),
        expires_at=moment_from_wire(data.get("expires_at")),
        extra={key: value for key, value in data.items() if key not in _FILE_KEYS},
    )


def page_from_wire(read: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
    """
    Make a reader of list answers from the reader of one item.

    :param read: Reader of an item.
    """

    def read_page(data: Any) -> Page[T]:
        raw = data.get("data") if isinstance(data, dict) else data
        if not isinstance(raw, list):
            raise ApiResponseError("The service's answer is not a list.")
        items = tuple(read(item) for item in raw)
        if not isinstance(data, dict) or not data.get("has_more") or not items:
            return Page(items, None)
        return Page(items, _text(data.get("last_id")) or _text(getattr(items[-1], "id", None)))

    return read_page


def deleted_from_wire(data: Any) -> bool:
    """Read the answer to a delete: anything the service accepts and does not deny counts as deleted."""
    return not (isinstance(data, dict) and data.get("deleted") is False)


def moment_from_wire(value: Any) -> DateTime | None:
    """
    Read a time: epoch seconds or milliseconds, as number or digits, or ISO text.

    :param value: What the service sent; 0, null and nonsense give None.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return _moment_from_text(value)
    if isinstance(value, bool) or not 0 < number < _TIME_ENDS_AT:
        return None
    return pendulum.from_timestamp(number / 1000 if number > _MILLISECONDS_FROM else number)


def _moment_from_text(value: Any) -> DateTime | None:
    if not isinstance(value, str):
        return None
    try:
        # A full date only: pendulum would read "now" and "10:00" as moments of today.
        moment = pendulum.parse(value) if value[:4].isdigit() else None
        return moment.in_timezone("UTC") if isinstance(moment, DateTime) else None
    except (ValueError, OverflowError):
        return None


def _counts(data: Any) -> RequestCounts | None:
    if not isinstance(data, dict):
        return None
    numbers = {key: _number(data.get(key)) or 0 for key in ("total", "completed", "failed")}
    return RequestCounts(**numbers) if any(key in data for key in numbers) else None


def _problems(data: Any) -> tuple[BatchProblem, ...]:
    entries = data.get("data") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        return ()
    return tuple(
        BatchProblem(
            message=_words(entry.get("message")),
            code=(_text(entry.get("code")) or "")[:MAX_CODE] or None,
            line=_number(entry.get("line")),
            param=_text(entry.get("param")),
        )
        for entry in entries
        if isinstance(entry, dict)
    )


def _words(value: Any) -> str:
    text = _text(value)
    return (shorten(text) or HIDDEN) if text else "no message"


def _metadata(batch: Mapping[str, Any]) -> Mapping[str, str] | None:
    """None when the service does not tell; null is its way to say "empty"."""
    if "metadata" not in batch:
        return None
    data = batch["metadata"] if isinstance(batch["metadata"], dict) else {}
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}


def _text(value: Any) -> str | None:
    """Non-empty text, else None: several services send "" where the reference says null."""
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    """A count or size, also when sent as text; None when it is absent or negative."""
    if isinstance(value, bool):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):  # JSON as Python reads it has Infinity
        return None
    return number if number >= 0 else None
