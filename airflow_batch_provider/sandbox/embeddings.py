"""Embeddings without a model: unit vectors drawn from a hash, so equal texts have equal vectors."""

from __future__ import annotations

import base64
import hashlib
import math
from array import array
from typing import Any

DEFAULT_DIMENSIONS = 16
"""Small, because a sandbox's files should be; a real model's would be fifty times as large."""

MAX_DIMENSIONS = 4096


def embed(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """
    Return the unit vector of a text.

    :param text: Anything; the same text has the same vector in every sandbox.
    :param dimensions: Its length.
    """
    numbers = array("h", hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions))
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [round(number / length, 8) for number in numbers]


def encode_vector(vector: list[float], encoding_format: object) -> Any:
    """Return a vector as the request wants it: a list, or base64 of little-endian 32 bit floats."""
    if encoding_format != "base64":
        return vector
    return base64.b64encode(array("f", vector).tobytes()).decode("ascii")


def texts_of(value: Any) -> list[str]:
    """Return the texts an ``input`` holds: a string, a list of strings, token ids, or a list of lists of those."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return []
    if value and all(isinstance(item, int) for item in value):
        return [str(value)]
    return [item if isinstance(item, str) else str(item) for item in value]
