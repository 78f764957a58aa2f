"""Every kind of call the client makes, and what holds for each refusal of one."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.exceptions import ApiStatusError, BatchError, SubmissionUnknownError
from tests.gateway.support import BODY, KEY, small_upload

CALLS: dict[str, tuple[str, Callable[[BatchClient], object]]] = {
    "get": ("GET /batches/b", lambda client: client.get_batch("b")),
    "list": ("GET /batches", lambda client: client.list_batch_page()),
    "upload": ("POST /files", lambda client: client.upload_file(small_upload())),
    "create": ("POST /batches", lambda client: client.create_batch(BODY)),
    "cancel": ("POST /batches/b/cancel", lambda client: client.cancel_batch("b")),
    "delete": ("DELETE /files/f", lambda client: client.delete_file("f")),
}
every_call = pytest.mark.parametrize("name", CALLS)


def refused(client: BatchClient, name: str) -> BatchError:
    """Make a call that is refused; whatever the refusal is, it shows no secret and none of the gateway's noise."""
    with pytest.raises(BatchError) as raised:
        CALLS[name][1](client)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert KEY not in shown
    for noise in ("openai error", "undefined", "html-message", "TypeError", "<", "{"):
        assert noise not in str(raised.value)
    return raised.value


def cause_of(error: BatchError, name: str) -> ApiStatusError:
    """The refusal itself; the paid call is allowed to wrap it."""
    if name == "create" and isinstance(error, SubmissionUnknownError):
        assert error.retryable
        assert isinstance(error.__cause__, ApiStatusError)
        return error.__cause__
    assert isinstance(error, ApiStatusError)
    return error
