"""
Errors as the sandbox answers them: OpenAI's envelope, ``{"error": {"message", "type", "param", "code"}}``.

Handlers raise :class:`ApiError`; one place (``app.py``) turns it into an answer.
"""

from __future__ import annotations

from typing import Any

INVALID_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """
    A refusal the client is meant to read.

    :param status: HTTP status of the answer.
    :param message: What went wrong, in words.
    :param param: The request field at fault, if there is one.
    :param code: A short stable word a program can branch on, if there is one.
    :param kind: OpenAI's ``type`` field.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID_REQUEST,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind

    def to_wire(self) -> dict[str, Any]:
        """Return the error envelope."""
        return error_body(self.message, kind=self.kind, param=self.param, code=self.code)


def error_body(
    message: str, *, kind: str = INVALID_REQUEST, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return OpenAI's error envelope around ``message``."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def no_such_file(file_id: str) -> ApiError:
    """Return the 404 for a file id nobody knows."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def no_such_batch(batch_id: str) -> ApiError:
    """Return the 404 for a batch id nobody knows."""
    return ApiError(404, f"No batch found with id '{batch_id}'.")


def missing_parameter(name: str) -> ApiError:
    """Return the 400 for a request field that has to be there."""
    return ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def invalid_value(name: str, value: object, supported: str) -> ApiError:
    """Return the 400 for a request field whose value is not one of those possible."""
    return ApiError(
        400, f"Invalid value: {value!r}. Supported values are: {supported}.", param=name, code="invalid_value"
    )


def invalid_type(name: str, value: object, expected: str) -> ApiError:
    """Return the 400 for a request field of the wrong JSON type."""
    found = type(value).__name__
    return ApiError(
        400,
        f"Invalid type for '{name}': expected {expected}, but got {found} instead.",
        param=name,
        code="invalid_type",
    )


def invalid_api_key() -> ApiError:
    """Return the 401; unlike OpenAI's it never repeats any part of the key that was sent."""
    return ApiError(
        401, "Incorrect or missing API key. The sandbox was started with another one.", code="invalid_api_key"
    )
