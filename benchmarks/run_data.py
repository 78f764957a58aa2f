"""Result files as a service writes them: one line per request, in an order of its own."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.data import WORDS

BATCH = "batch_benchmark"


def write_results(folder: Path, *, shards: int, rows: int, line_bytes: int) -> None:
    """
    Write the output file of each shard's batch, its lines shuffled.

    :param folder: Where; files are called ``00000.jsonl`` and so on.
    :param shards: How many files.
    :param rows: Lines of each.
    :param line_bytes: Bytes of each, line break included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frame = len(_row(0, ""))
    text = (WORDS * (line_bytes // len(WORDS) + 1))[: line_bytes - frame]
    template = _template(_row(0, text))
    dice = random.Random(1)
    for shard in range(shards):
        numbers = list(range(shard * rows, (shard + 1) * rows))
        dice.shuffle(numbers)
        with (folder / f"{shard:05d}.jsonl").open("wb", buffering=1 << 20) as file:
            file.writelines(template % _values(number, dice) for number in numbers)


def _template(row: bytes) -> bytes:
    row = row.replace(b"00000000", b"%(number)08d")
    for name, value in (("prompt", 120), ("completion", 60), ("total", 180)):
        row = row.replace(f'"{name}_tokens": {value}'.encode(), f'"{name}_tokens": %({name})d'.encode())
    return row


def _values(number: int, dice: random.Random) -> dict[bytes, int]:
    """What differs from row to row; always of the same length."""
    prompt, completion = dice.randrange(100, 900), dice.randrange(10, 100)
    return {b"number": number, b"prompt": prompt, b"completion": completion, b"total": prompt + completion}


def _row(number: int, text: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "stop",
    }
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 60,
        "total_tokens": 180,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    }
    body = {
        "id": f"chatcmpl-{number:08d}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "small-1",
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": "fp_1",
    }
    response = {"status_code": 200, "request_id": f"req_{number:08d}", "body": body}
    row = {"id": f"batch_req_{number:08d}", "custom_id": f"row-{number:08d}", "response": response, "error": None}
    return json.dumps(row).encode() + b"\n"
