from __future__ import annotations

import email.parser
import email.policy
import io

import pytest

from airflow_batch_provider.client import multipart
from airflow_batch_provider.client.multipart import Upload, upload_body
from airflow_batch_provider.exceptions import InputError
from tests.client.support import upload_of


def test_the_body_has_the_length_it_announces() -> None:
    """Gateways and services reject or cut an upload whose length is wrong."""
    headers, pieces = upload_body(upload_of(b"x" * 1_000_000))

    assert int(headers["Content-Length"]) == sum(map(len, pieces))


def test_the_parts_are_those_that_every_service_accepts() -> None:
    """``purpose`` first and without a type (Vertex), capitals in the header's name (Bedrock), the content untouched."""
    content = b'{"a": "\xc3\xa4"}\r\n--batch\r\n'
    headers, pieces = upload_body(upload_of(content, "my file.txt"))
    body = b"".join(pieces)
    raw = b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(raw)
    purpose, file = parsed.iter_parts()

    assert [str(part["Content-Disposition"]) for part in (purpose, file)] == [
        'form-data; name="purpose"',
        'form-data; name="file"; filename="my_file.txt.jsonl"',
    ]
    assert purpose["Content-Type"] is None
    assert purpose.get_payload(decode=True) == b"batch"
    assert file["Content-Type"] == "application/jsonl"
    assert content in body
    assert body.count(b"Content-Disposition: form-data; name=") == 2
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=batch-")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("in.jsonl", "in.jsonl"),
        ("in.jsonl.gz", "in.jsonl.gz.jsonl"),
        ('a"b\r\nc.jsonl', "a_b_c.jsonl"),
        ("prömpts/2026", "pr_mpts_2026.jsonl"),
        ("", "requests.jsonl"),
    ],
)
def test_file_names_are_plain_and_end_in_jsonl(name: str, sent: str) -> None:
    """Bedrock refuses other ends, and no name can forge a header."""
    _, pieces = upload_body(upload_of(b"", name))

    assert f'filename="{sent}"'.encode() in next(iter(pieces))


def test_each_body_has_its_own_boundary() -> None:
    """No content can contain it by chance or by intent."""
    first, second = (upload_body(upload_of(b""))[0]["Content-Type"] for _ in range(2))

    assert first != second


def test_the_content_is_read_in_pieces() -> None:
    """The size of the file is no matter for the memory."""
    _, pieces = upload_body(upload_of(b"x" * (3 * multipart.CHUNK_BYTES)))

    assert max(map(len, pieces)) == multipart.CHUNK_BYTES


@pytest.mark.parametrize("announced", [0, 5, 9, 11, 10_000_000], ids=lambda size: f"announced-{size}")
def test_a_file_that_changes_while_it_is_sent_is_broken_off(announced: int) -> None:
    """Longer or shorter than announced: the person reads about the file, not about the connection's headers."""
    upload = Upload(lambda: io.BytesIO(b"x" * 10), announced, "in.jsonl")
    sent: list[bytes] = []
    with pytest.raises(InputError, match=f"in.jsonl no longer has the {announced:,} bytes"):
        sent.extend(upload_body(upload)[1])

    assert not b"".join(sent).endswith(b"--\r\n")
