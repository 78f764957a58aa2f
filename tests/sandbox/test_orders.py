from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import ShortClient, rows


@pytest.mark.parametrize(
    "endpoint",
    ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations"],
)
def test_five_endpoints_are_accepted(client: ShortClient, endpoint: str) -> None:
    """OpenAI's text endpoints can be batched."""
    assert client.post_batch(input_file_id=client.upload(rows(1)), endpoint=endpoint).status_code == 200


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        pytest.param({"endpoint": "/v1/audio"}, "endpoint", "invalid_value", id="endpoint"),
        pytest.param({"endpoint": None}, "endpoint", "missing_required_parameter", id="no endpoint"),
        pytest.param({"endpoint": 3}, "endpoint", "invalid_type", id="endpoint type"),
        pytest.param({"completion_window": "1h"}, "completion_window", "invalid_value", id="window"),
        pytest.param({"completion_window": None}, "completion_window", "missing_required_parameter", id="no window"),
        pytest.param({"input_file_id": "file-x"}, "input_file_id", None, id="unknown file"),
        pytest.param({"input_file_id": None}, "input_file_id", "missing_required_parameter", id="no file"),
        pytest.param({"metadata": "text"}, "metadata", "invalid_type", id="metadata type"),
        pytest.param({"metadata": {"a": 1}}, "metadata.a", "invalid_type", id="metadata value type"),
        pytest.param(
            {"metadata": {str(key): "" for key in range(17)}}, "metadata", "object_above_max_properties", id="17 pairs"
        ),
        pytest.param({"metadata": {"k" * 65: ""}}, "metadata", "string_above_max_length", id="long key"),
        pytest.param({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", id="long value"),
        pytest.param({"metadata": {"sandbox": "explode=true"}}, "metadata", "invalid_directive", id="directive"),
        pytest.param({"output_expires_after": 5}, "output_expires_after", "invalid_type", id="expiry type"),
        pytest.param(
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            "expires_after[seconds]",
            "invalid_value",
            id="expiry",
        ),
    ],
)
def test_unacceptable_orders_are_refused(
    client: ShortClient, changes: dict[str, Any], param: str, code: str | None
) -> None:
    """A refused order is a 400 that names the field, and makes no batch."""
    answer = client.post_batch(**{"input_file_id": client.upload(rows(1)), **changes})

    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert client.http.get("/batches").json()["data"] == []


def test_only_files_for_batches_are_accepted(client: ShortClient) -> None:
    """A file uploaded for something else is refused."""
    answer = client.post_batch(input_file_id=client.upload(rows(1), purpose="user_data"))

    assert answer.status_code == 400
    assert "purpose" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_bodies_must_be_objects(client: ShortClient, body: bytes) -> None:
    """Anything but a JSON object is a 400."""
    assert client.http.post("/batches", content=body).status_code == 400


def test_the_largest_metadata_is_accepted(client: ShortClient) -> None:
    """16 pairs of 64 and 512 characters are the limit, not above it."""
    metadata = {f"{key:02d}".ljust(64, "k"): "v" * 512 for key in range(16)}
    answer = client.post_batch(input_file_id=client.upload(rows(1)), metadata=metadata)

    assert answer.json()["metadata"] == metadata
