"""The service's routes as values. A sync and an async client perform the same calls, so each rule stands once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from airflow_batch_provider.client import glances, wire
from airflow_batch_provider.client.glances import Glance, page_of_glances
from airflow_batch_provider.core.batches import Batch, RemoteFile
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    One call of the service.

    :param method: HTTP method.
    :param path: Path below the base URL.
    :param read: Turns the decoded answer into a value.
    :param subject: What the call is about, for error texts.
    :param params: Query.
    :param body: JSON body, or None.
    :param is_repeatable: True when sending it twice does no harm.
    :param decode: Decodes the answer's JSON, for answers of which only a part is wanted.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    subject: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    is_repeatable: bool = True
    decode: Callable[[bytes], Any] = json.loads


def path_id(remote_id: str) -> str:
    """
    An id as a path segment.

    Ids of Bedrock and Vertex files come percent-encoded and must go back verbatim: ``%`` stays as it is.

    :param remote_id: The id as the service gave it.
    :raises ConfigurationError: It is empty or a dot, so that the path would be another route's.
    """
    if remote_id in ("", ".", ".."):
        raise ConfigurationError(f'The id "{remote_id}" cannot be the id of a file or batch. Did its task run?')
    return quote(remote_id, safe="%")


def get_file(file_id: str) -> Call[RemoteFile]:
    return Call("GET", f"/files/{path_id(file_id)}", wire.file_from_wire, f"file {file_id}")


def list_files(after: str | None, limit: int, purpose: str | None) -> Call[wire.Page[RemoteFile]]:
    params = _list_params(after, limit) | ({"purpose": purpose} if purpose else {})
    return Call("GET", "/files", wire.page_from_wire(wire.file_from_wire), "the list of files", params)


def delete_file(file_id: str) -> Call[bool]:
    return Call("DELETE", f"/files/{path_id(file_id)}", wire.deleted_from_wire, f"file {file_id}")


def create_batch(body: Mapping[str, Any]) -> Call[Batch]:
    return Call("POST", "/batches", wire.batch_from_wire, "the new batch", body=body, is_repeatable=False)


def get_batch(batch_id: str) -> Call[Batch]:
    def read(data: Any) -> Batch:
        # Known by the id we asked with: some services answer with another spelling of it (a whole ARN for its end,
        # encoded or not), and whoever waits for the one would never see the other end.
        return replace(wire.batch_from_wire(data), id=batch_id)

    return Call("GET", f"/batches/{path_id(batch_id)}", read, f"batch {batch_id}")


def cancel_batch(batch_id: str) -> Call[Any]:
    # Read as it is: some services answer {} or {"status": "success"}, which say nothing about the batch.
    return Call("POST", f"/batches/{path_id(batch_id)}/cancel", lambda data: data, f"batch {batch_id}")


def list_batches(after: str | None, limit: int) -> Call[wire.Page[Batch]]:
    read = wire.page_from_wire(wire.batch_from_wire)
    return Call("GET", "/batches", read, "the list of batches", _list_params(after, limit))


def glance_at_batches(after: str | None, limit: int) -> Call[wire.Page[Glance]]:
    subject, params = "the list of batches", _list_params(after, limit)
    return Call("GET", "/batches", page_of_glances, subject, params, decode=glances.decode)


def _list_params(after: str | None, limit: int) -> dict[str, str]:
    return {"limit": str(limit)} | ({"after": after} if after else {})


def is_batch(answer: Any) -> bool:
    """
    Say whether the answer to a cancel call is the batch.

    :param answer: Decoded JSON. Bedrock's, through a gateway, has an id and the status "success": no batch's status.
    """
    if not isinstance(answer, dict) or answer.get("object") != "batch" or not answer.get("id"):
        return False
    return BatchStatus.from_wire(answer.get("status")) is not BatchStatus.UNKNOWN
