"""What ``POST /batches`` asks for, checked against OpenAI's rules."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_batch_provider.sandbox.answers import ENDPOINTS
from airflow_batch_provider.sandbox.directives import Directives, parse_directives
from airflow_batch_provider.sandbox.errors import ApiError, invalid_type, invalid_value, missing_parameter
from airflow_batch_provider.sandbox.files import FileStore
from airflow_batch_provider.sandbox.uploads import keep_seconds_of

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
COMPLETION_WINDOW = "24h"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """
    A checked request for a batch.

    :param input_file_id: The file its rows are in.
    :param endpoint: What the rows are for.
    :param metadata: The creator's notes, given back as they came; None when there were none.
    :param directives: What those notes ask of the sandbox.
    :param keep_seconds: How long the result files live; None: until they are deleted.
    """

    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None
    directives: Directives
    keep_seconds: int | None = None


def parse_order(body: bytes, files: FileStore) -> Order:
    """
    Read the body of ``POST /batches``.

    :param body: The request's body.
    :param files: Where the input file has to be.
    :raises ApiError: it is not an acceptable order.
    """
    given = _decode(body)
    endpoint = _required_text(given, "endpoint")
    if endpoint not in ENDPOINTS:
        raise invalid_value("endpoint", endpoint, ", ".join(ENDPOINTS))
    window = _required_text(given, "completion_window")
    if window != COMPLETION_WINDOW:
        raise invalid_value("completion_window", window, COMPLETION_WINDOW)
    metadata = check_metadata(given.get("metadata"))
    return Order(
        input_file_id=_input_file_id(given, files),
        endpoint=endpoint,
        metadata=metadata,
        directives=parse_directives(metadata or {}),
        keep_seconds=_keep_seconds(given.get("output_expires_after")),
    )


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "We could not parse the JSON body of your request. A JSON object is expected.") from error


def _required_text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        raise missing_parameter(name)
    if not isinstance(value, str):
        raise invalid_type(name, value, "a string")
    return value


def _input_file_id(given: dict[str, Any], files: FileStore) -> str:
    file_id = _required_text(given, "input_file_id")
    try:
        record = files.get(file_id)
    except ApiError as error:
        raise ApiError(400, f"No such File object: {file_id}", param="input_file_id") from error
    if record.purpose != "batch":
        message = f"Invalid file purpose '{record.purpose}' of input file {file_id}. It must be 'batch'."
        raise ApiError(400, message, param="input_file_id")
    return file_id


def check_metadata(given: Any) -> dict[str, str] | None:
    """
    Check a batch's metadata.

    :param given: What the request has under ``metadata``.
    :raises ApiError: it breaks one of the rules on size or type.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_type("metadata", given, "an object")
    if len(given) > MAX_METADATA_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. At most {MAX_METADATA_PAIRS} are allowed, got {len(given)}."
        )
        raise ApiError(400, message, param="metadata", code="object_above_max_properties")
    for key, value in given.items():
        _check_pair(key, value)
    return given


def _check_pair(key: str, value: Any) -> None:
    name = f"metadata.{key}"
    if len(key) > MAX_METADATA_KEY:
        message = f"Invalid 'metadata': a key is longer than {MAX_METADATA_KEY} characters."
        raise ApiError(400, message, param="metadata", code="string_above_max_length")
    if not isinstance(value, str):
        raise invalid_type(name, value, "a string")
    if len(value) > MAX_METADATA_VALUE:
        message = f"Invalid '{name}': string too long. At most {MAX_METADATA_VALUE} characters are allowed."
        raise ApiError(400, message, param=name, code="string_above_max_length")


def _keep_seconds(given: Any) -> int | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_type("output_expires_after", given, "an object")
    return keep_seconds_of({f"expires_after[{name}]": str(value) for name, value in given.items()})
