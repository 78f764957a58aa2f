"""Joining in this process; what it has in common with helpers is in test_helper.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_batch_provider.core import heads
from tests.core.test_joining import encode, success
from tests.joining.support import joined_here


@pytest.mark.parametrize("wrong", [-1, 1])
def test_rows_fill_the_room_that_was_made_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: int) -> None:
    """Others write behind it, so another size than was said is a bug of ours and never results."""
    count = heads.count_bytes
    monkeypatch.setattr(heads, "count_bytes", lambda *args: count(*args) + wrong)

    with pytest.raises(RuntimeError, match="Please report"):
        joined_here(tmp_path / "rows", encode(success("a")))
