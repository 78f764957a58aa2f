"""
The body of an upload, as a stream of known length.

Order and headers of the parts are those every service behind a gateway accepts: ``purpose`` first and without a content
type (Vertex), ``Content-Disposition`` in capitals (Bedrock), a file name that ends in ``.jsonl``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from airflow_batch_provider.exceptions import InputError

CHUNK_BYTES = 256 * 1024


class Readable(Protocol):
    """Anything with ``read(size) -> bytes``."""

    def read(self, size: int = -1, /) -> bytes: ...


OpenSource = Callable[[], AbstractContextManager[Readable]]


@dataclass(frozen=True)
class Upload:
    """
    A file to upload.

    :param open_source: Opens the content from its start; called once per try.
    :param size: Bytes the content has.
    :param filename: Name the service shall show.
    :param purpose: What it is for; batches read files with the purpose ``batch``.
    """

    open_source: OpenSource
    size: int
    filename: str
    purpose: str = "batch"


def upload_body(upload: Upload) -> tuple[dict[str, str], Iterator[bytes]]:
    """
    Build headers and body of POST /files.

    :param upload: The file.
    :returns: Headers with content type and exact length, and the body in pieces.
    """
    boundary = f"batch-{secrets.token_hex(16)}"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{upload.purpose}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_safe(upload.filename)}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    ).encode("ascii")
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + upload.size + len(tail)),
    }
    return headers, _pieces(head, upload, tail)


def _pieces(head: bytes, upload: Upload, tail: bytes) -> Iterator[bytes]:
    yield head
    sent = 0
    with upload.open_source() as source:
        while chunk := source.read(CHUNK_BYTES):
            sent += len(chunk)
            if sent > upload.size:
                raise _changed(upload)
            yield chunk
    if sent != upload.size:
        raise _changed(upload)
    yield tail


def _changed(upload: Upload) -> InputError:
    return InputError(
        f"{upload.filename} no longer has the {upload.size:,} bytes it had when its upload began; the upload was "
        "broken off and no file was made at the service. Let the file be finished before this task runs."
    )


def _safe(filename: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", filename) or "requests"
    return name if name.endswith(".jsonl") else f"{name}.jsonl"
