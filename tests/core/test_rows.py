from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.core import rows
from airflow_batch_provider.core.rows import RowCounter
from airflow_batch_provider.exceptions import DownloadError


def count(content: bytes, size: int = 1 << 20) -> int:
    counter = RowCounter("file-A")
    for start in range(0, len(content), size):
        counter.feed(content[start : start + size])
    counter.finish()
    return counter.rows


def row(number: int, **fields: Any) -> bytes:
    return json.dumps({"custom_id": f"row-{number}", **fields}, ensure_ascii=False).encode()


texts = st.text(max_size=30)


@given(st.lists(texts, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans(), st.data())
def test_any_chunking_gives_the_same_count(found: list[str], end: bytes, has_last: bool, data: st.DataObject) -> None:
    """Line ends, blank lines, separators inside strings and the cuts of the network change nothing."""
    content = end.join(row(number, text=text) for number, text in enumerate(found)) + (end if has_last else b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    counter = RowCounter("file-A")
    for start, stop in zip([0, *cuts], [*cuts, len(content)], strict=True):
        counter.feed(content[start:stop])
    counter.finish()

    assert counter.rows == len(found)


@given(st.integers(1, 200))
def test_a_file_that_is_cut_anywhere_inside_a_row_is_refused(at: int) -> None:
    """A truncated file never passes for a shorter one."""
    content = row(1, text="a \u2028 \U0001f600 b") + b"\n" + row(2, text="x" * 200)
    cut = content[: len(content) - at]

    with pytest.raises(DownloadError, match="truncated or altered on the way, and nothing was kept"):
        count(cut, size=7)


@pytest.mark.parametrize(
    ("content", "number"),
    [
        pytest.param(b'{"a": 1}\n{"a": 1', 2, id="cut"),
        pytest.param(b'{"a": 1}\n\n{"a": 1}\n<html>\n', 3, id="html"),
        pytest.param(b"[1]\n", 1, id="list"),
        pytest.param(b'"text"\n', 1, id="text"),
        pytest.param(b"NaN\n", 1, id="not-a-number-alone"),
        pytest.param(b'{"a": 1} {"a": 2}\n', 1, id="two-in-one-line"),
        pytest.param(b'{"a": 1}\n\n{"a": "\xff"}\n', 2, id="no-utf8"),
        pytest.param(b'{"a": 1}\n{"a": "\x00"}\n', 2, id="control-character"),
        pytest.param(b'{"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}\n", 1, id="nested-too-deeply"),
    ],
)
def test_an_altered_line_is_refused_with_its_number(content: bytes, number: int) -> None:
    """The row is counted without blank lines, the file is named, its content is not shown."""
    with pytest.raises(DownloadError, match=f"Row {number} of file-A is not a whole JSON object") as caught:
        count(content)

    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"logprob": -Infinity}\n{"score": NaN}\n', id="numbers-as-python-writes-them"),
        pytest.param(b'{"text": "\\ud83d"}\n{}\n', id="half-a-surrogate-pair"),
        pytest.param(b'{"a": 1e999}\r\n\xc2\xa0'.replace(b"\xc2\xa0", b"") + b"{}", id="no-last-newline"),
    ],
)
def test_what_services_really_write_is_accepted(content: bytes) -> None:
    """Rows that are whole and paid for are never thrown away for being odd JSON."""
    assert count(content) == 2


def test_an_empty_file_has_no_rows() -> None:
    """Services name files of no bytes for clean batches."""
    assert count(b"") == 0
    assert count(b"\n \r\n") == 0


def test_a_line_without_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without line breaks is refused before it fills the memory."""
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 1_000)
    counter = RowCounter("file-A")
    for _ in range(10):
        counter.feed(b"x" * 100)

    with pytest.raises(DownloadError, match="file-A has a line of over 1,000 bytes"):
        counter.feed(b"x")
