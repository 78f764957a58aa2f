"""Extra fields of a connection: known names only, proper types, fit for headers."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from typing import Any

from airflow_batch_provider.core.connection_fields import BY_NAME, UNMASKED_ALIASES, Field
from airflow_batch_provider.exceptions import ConfigurationError


def parse_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Known, non-empty extras with their proper types."""
    values: dict[str, Any] = {}
    for name, value in extra.items():
        value = value.strip() if isinstance(value, str) else value  # noqa: PLW2901
        if name.startswith("__") or value in (None, "", {}):
            continue
        if name in UNMASKED_ALIASES:
            raise ConfigurationError(
                f'The extra field "{name}" may hold a secret, but Airflow would show it in clear. '
                f'Call it "{UNMASKED_ALIASES[name]}".'
            )
        if name not in BY_NAME:
            near = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise ConfigurationError(f'The connection has an unknown extra field "{name}".{hint}')
        values[name] = _coerce(BY_NAME[name], value)
    return values


def _coerce(spec: Field, value: Any) -> Any:
    try:
        converted = _CONVERTERS[spec.type](value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # The value itself is not shown: it may be a secret in the wrong field.
        raise ConfigurationError(f'The extra field "{spec.name}" is not a valid {spec.type}.') from None
    if spec.minimum is not None and converted < spec.minimum:
        raise ConfigurationError(f'The extra field "{spec.name}" must be at least {spec.minimum:g}.')
    return converted


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if (word := str(value).strip().lower()) in words:
        return words[word]
    raise ValueError


def _to_integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _to_number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _to_object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise TypeError
    return value


def _to_string(value: Any) -> str:
    # A Portkey config or a service account may be given as a JSON object instead of a string that holds one.
    return json.dumps(value) if isinstance(value, dict | list) else str(value).strip()


_CONVERTERS: dict[str, Any] = {
    "string": _to_string,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_bool,
    "object": _to_object,
}


def clean(name: str, text: str) -> str:
    """A value that may stand in a header."""
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        raise ConfigurationError(
            f'The connection\'s "{name}" contains a line break or a character that HTTP headers cannot carry. '
            "Was it copied with something around it?"
        )
    return text
