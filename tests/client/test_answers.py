from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_batch_provider.client import calls, http
from airflow_batch_provider.client.http import BoundedBody, read_answer
from airflow_batch_provider.exceptions import ApiResponseError
from tests.client.support import settings

CALL = calls.get_batch("b1")


def answer(body: bytes, headers: dict[str, str] | None = None, status: int = 200, **parts: Any) -> Any:
    return read_answer(CALL, status, headers or {}, body, settings(**parts))


@pytest.mark.parametrize("body", [b"<html>", b"{", b"\xff", b"[" * 100_000], ids=["html", "cut", "bytes", "deep"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """The person is asked about the base URL, with the content type as a hint."""
    with pytest.raises(ApiResponseError, match=r"http://service.test/v1 answered .* not JSON \(text/html\).*base URL"):
        answer(body, {"content-type": "text/html"})


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b"[]", b'"text"'])
def test_json_that_does_not_fit_is_refused(body: bytes) -> None:
    """An empty 200 is no batch."""
    with pytest.raises(ApiResponseError, match="JSON that does not fit: .* is not a batch"):
        answer(body)


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_any_2xx_is_a_yes(status: int) -> None:
    """Azure answers 201 to an upload."""
    assert answer(b'{"id": "b1"}', status=status).id == "b1"


def test_an_answer_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that never stops sending does not fill the memory."""
    monkeypatch.setattr(http, "MAX_JSON_BYTES", 10)
    body = BoundedBody("batch b1")
    body.add(b"x" * 10)
    assert body.content() == b"x" * 10

    with pytest.raises(ApiResponseError, match="larger than 10 bytes; not read further"):
        body.add(b"x")


def test_text_that_a_gateway_wrapped_is_no_answer() -> None:
    """An upstream that answers with a page: the person is asked about the custom host, where there is one."""
    body = json.dumps({"html-message": "<html>login</html>"}).encode()
    with pytest.raises(ApiResponseError, match=r"text, wrapped by the gateway.*Is the base URL"):
        answer(body)
    with pytest.raises(ApiResponseError, match="Is the custom host"):
        answer(body, extra={"provider": "openai", "custom_host": "http://x.test/v1"})


def test_json_that_a_gateway_wrapped_is_the_answer() -> None:
    """A service that names its JSON text/plain is understood all the same."""
    assert answer(json.dumps({"html-message": '{"id": "b1"}'}).encode()).id == "b1"
