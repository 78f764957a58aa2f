"""What the tests of joining share: one shard, its job, and who joins it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_batch_provider.core.joining_job import JoiningJob
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.joining import Joined, Joining
from airflow_batch_provider.joining.here import JoiningHere

IDS = ["a", "b", "c"]


def job(requests: int = len(IDS), **changes: Any) -> JoiningJob:
    """Return a piece and its batch, with everything ordinary filled in."""
    values: dict[str, Any] = {
        "batch_id": "batch_1",
        "status": BatchStatus.COMPLETED,
        "round": 0,
        "requests": requests,
        "first_index": 0,
        "can_go_again": False,
    }
    return JoiningJob(**values | changes)


def lines_of(ids: Sequence[str]) -> bytes:
    """Return custom_ids as they are kept beside a shard, in two lines."""
    middle = len(ids) // 2
    return b"".join(json.dumps(part).encode() + b"\n" for part in (ids[:middle], ids[middle:]))


def joined(joining: Joining, path: Path, *files: bytes, offset: int = 0) -> tuple[Joined, bytes]:
    """Join whole files; return what came of it, and the rows."""
    for content in files:
        joining.begin("the file", skips_damage=True)
        joining.write(content)
        joining.end()
    path.touch()
    found = joining.finish()
    joining.write_to(str(path), offset)
    return found, path.read_bytes()[offset:]


def joined_here(
    path: Path, *files: bytes, ids: Sequence[str] = IDS, positions: Sequence[int] = (), **changes: Any
) -> tuple[Joined, bytes]:
    """Join whole files in this process."""
    with JoiningHere(job(len(ids), **changes), ids, positions) as here:
        return joined(here, path, *files)
