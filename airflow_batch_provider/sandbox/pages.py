"""List answers: ``after`` and ``limit`` as OpenAI reads them, and the envelope around a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_batch_provider.sandbox.errors import ApiError


def parse_limit(query: Mapping[str, str], *, default: int, highest: int) -> int:
    """
    Read the ``limit`` parameter.

    :param query: The request's query.
    :param default: The page size when the client names none.
    :param highest: The largest page size.
    :raises ApiError: it is not a number between 1 and ``highest``.
    """
    text = query.get("limit", str(default))
    if not text.isascii() or not text.isdigit():
        raise ApiError(
            400, f"Invalid 'limit': expected an integer, but got {text!r}.", param="limit", code="invalid_type"
        )
    if not 1 <= int(text) <= highest:
        raise ApiError(
            400,
            f"Invalid 'limit': expected a value between 1 and {highest}, but got {text}.",
            param="limit",
            code="integer_above_max_value" if int(text) > highest else "integer_below_min_value",
        )
    return int(text)


def page(items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return the list envelope around ``items``."""
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
