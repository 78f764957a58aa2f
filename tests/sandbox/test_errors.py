from __future__ import annotations

from airflow_batch_provider.sandbox.errors import ApiError, invalid_api_key, no_such_batch, no_such_file


def test_errors_have_openais_envelope() -> None:
    """An error carries message, type, param and code, always all four."""
    error = ApiError(400, "No.", param="limit", code="bad_limit")

    assert error.to_wire() == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "limit", "code": "bad_limit"}
    }


def test_unknown_things_are_named_in_openais_words() -> None:
    """The 404s read as OpenAI's do."""
    assert (no_such_file("file-1").status, no_such_file("file-1").message) == (404, "No such File object: file-1")
    assert (no_such_batch("b").status, no_such_batch("b").message) == (404, "No batch found with id 'b'.")


def test_wrong_keys_have_openais_code() -> None:
    """A wrong key is invalid_api_key."""
    assert (invalid_api_key().status, invalid_api_key().code) == (401, "invalid_api_key")
