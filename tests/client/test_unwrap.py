from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.client import unwrap
from airflow_batch_provider.client.unwrap import Unwrapper
from airflow_batch_provider.exceptions import DownloadError


def wrap(text: str, *, ascii_only: bool = False) -> bytes:
    """As the gateway wraps: ``JSON.stringify`` puts no blanks."""
    return json.dumps({"html-message": text}, ensure_ascii=ascii_only, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def unwrapped(body: bytes, cuts: list[int] | None = None) -> bytes:
    unwrapper = Unwrapper()
    ends = [*sorted(cuts or []), len(body)]
    found = [unwrapper.feed(body[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return b"".join([*found, unwrapper.finish()])


lines = st.lists(
    st.text(max_size=12) | st.sampled_from(['"', "\\", '\\"', "\\u00e9", "\U0001f600", "\u2028", "}", ",", "\n"])
)


@given(lines.map("".join), st.booleans(), st.data())
def test_any_text_in_any_pieces_comes_out_whole(text: str, ascii_only: bool, data: st.DataObject) -> None:
    """Quotes, backslashes, escapes and characters of several bytes may be cut anywhere."""
    body = wrap(text, ascii_only=ascii_only)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))

    assert unwrapped(body, cuts) == text.encode()


def test_every_byte_alone() -> None:
    """The smallest pieces there are."""
    text = 'a "b" \\ \\u00e9 \U0001f600 \u2028, {"c": "d\\n"}\n'
    for ascii_only in (True, False):
        body = wrap(text, ascii_only=ascii_only)
        assert unwrapped(body, list(range(len(body)))) == text.encode()


@given(st.binary(max_size=60), st.data())
def test_what_is_not_wrapped_passes(content: bytes, data: st.DataObject) -> None:
    """Most files come as they are, whatever their first bytes look like."""
    body = b"{" + content
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=4))

    assert unwrapped(body, cuts) == body


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"html-', b'{"html-message":', b'{"html-message" : "a"}', b'{"html-messages":"a"}']
)
def test_what_only_begins_like_a_wrapping_passes(body: bytes) -> None:
    """Nothing of a short file is swallowed."""
    assert unwrapped(body) == body
    assert unwrapped(body, list(range(len(body)))) == body


@given(st.integers(1, 60))
def test_a_wrapping_that_is_cut_is_refused(at: int) -> None:
    """A truncated download never passes for a shorter file."""
    body = wrap('{"custom_id": "a"}\n' * 3)
    cut = body[: max(len('{"html-message":"'), len(body) - 1 - at)]

    with pytest.raises(DownloadError, match=r"ends in the middle|not a JSON string"):
        unwrapped(cut, [10, 20])


@pytest.mark.parametrize("cuts", [[], [20], [24], [25], [26], list(range(60))], ids=str)
@pytest.mark.parametrize("tail", [b',"other":1}', b"}x", b"} {}", b"]"])
def test_a_wrapping_with_more_in_it_is_refused(tail: bytes, cuts: list[int]) -> None:
    """However it is cut: an object with other keys is no wrapped file, and what follows would be lost."""
    with pytest.raises(DownloadError, match="goes on after its end"):
        unwrapped(b'{"html-message":"abcdef"' + tail, cuts)


def test_blanks_after_the_end_are_nothing() -> None:
    """Some proxies add a line break."""
    assert unwrapped(b'{"html-message":"abc"}\n', [21, 22]) == b"abc"


@pytest.mark.parametrize("body", [b'{"html-message":"\\q"}', b'{"html-message":"a\nb"}', b'{"html-message":"\xff"}'])
def test_a_wrapping_that_is_no_json_is_refused(body: bytes) -> None:
    """Altered bytes are found, also inside of the wrapping."""
    with pytest.raises(DownloadError, match="not a JSON string"):
        unwrapped(body)


def test_half_a_surrogate_pair_stays_one() -> None:
    """It is the service's own; other checks decide about it."""
    assert unwrapped(b'{"html-message":"\\ud83d, x"}', [23]) == b"\xed\xa0\xbd, x"


def test_a_text_without_separators_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded also by what was never JSON lines."""
    monkeypatch.setattr(unwrap, "_MAX_HELD_BYTES", 1_000)

    with pytest.raises(DownloadError, match="not JSON lines"):
        unwrapped(b'{"html-message":"' + b"x" * 2_000)


def test_little_is_held_back() -> None:
    """What is certain goes on at once, so that memory does not grow with the file."""
    unwrapper = Unwrapper()
    out = sum(len(unwrapper.feed(piece)) for piece in [b'{"html-message":"', *[b"abcdefg, " * 100] * 100])

    assert out >= 90_000 - 16
