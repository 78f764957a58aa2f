"""The files that are measured with: requests of a given length, as many as fit."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = "The delivery came two days late and the box was open, but everything was there. "


def write_requests(path: Path, *, lines: int, line_bytes: int) -> int:
    """
    Write a file of chat requests, all of the same length.

    :param path: Where.
    :param lines: How many.
    :param line_bytes: Bytes of each, line break included.
    :returns: Size of the file.
    """
    frame = len(_request(0, ""))
    text = (WORDS * (line_bytes // len(WORDS) + 1))[: line_bytes - frame]
    with path.open("wb") as file:
        for number in range(lines):
            file.write(_request(number, text))
    return path.stat().st_size


def _request(number: int, text: str) -> bytes:
    body = {
        "model": "small-1",
        "temperature": 0,
        "messages": [{"role": "system", "content": "Answer with one word."}, {"role": "user", "content": text}],
    }
    request = {"custom_id": f"row-{number:08d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request).encode() + b"\n"
