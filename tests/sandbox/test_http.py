from __future__ import annotations

import pytest

from airflow_batch_provider.sandbox.http import route_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/files", "GET /files"),
        ("/v1/files/file-1", "GET /files/{id}"),
        ("/v1/files/file-1/content", "GET /files/{id}/content"),
        ("/v1/batches", "GET /batches"),
        ("/v1/batches/batch_1", "GET /batches/{id}"),
        ("/v1/batches/batch_1/cancel", "GET /batches/{id}/cancel"),
        ("/v1/models", "GET *unknown*"),
        ("/v1/files/a/b/c", "GET *unknown*"),
    ],
)
def test_routes_have_names(path: str, name: str) -> None:
    """The name has no ids in it, so that calls can be counted."""
    assert route_name("GET", path) == name
