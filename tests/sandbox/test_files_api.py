from __future__ import annotations

import httpx
import pytest

from airflow_batch_provider.sandbox import Limits, SandboxServer
from tests.sandbox.support import FakeClock, ShortClient, rows


def test_an_upload_becomes_a_file(client: ShortClient) -> None:
    """The answer is the file object, and so is that of a later GET."""
    made = client.post_file(rows(2)).json()

    assert (made["object"], made["bytes"], made["purpose"], made["filename"]) == (
        "file",
        len(rows(2)),
        "batch",
        "in.jsonl",
    )
    assert client.http.get(f"/files/{made['id']}").json() == made


def test_uploads_may_be_chunked(client: ShortClient) -> None:
    """Gateways send no content length."""
    body = (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        + rows(2_000)
        + b"\r\n--B--\r\n"
    )
    pieces = (body[start : start + 999] for start in range(0, len(body), 999))
    made = client.http.post("/files", content=pieces, headers={"content-type": "multipart/form-data; boundary=B"})

    assert client.content(made.json()["id"]) == rows(2_000)


def test_content_has_length_and_type(client: ShortClient) -> None:
    """application/octet-stream exactly, because gateways look at it, and the length of the file."""
    answer = client.http.get(f"/files/{client.upload(rows(3))}/content")

    assert (answer.content, answer.headers["content-type"]) == (rows(3), "application/octet-stream")
    assert answer.headers["content-length"] == str(len(rows(3)))


def test_lists_have_order_purpose_and_pages(client: ShortClient) -> None:
    """Newest first unless asked otherwise."""
    ids = [client.upload(rows(1)) for _ in range(3)]
    client.upload(b"x", purpose="user_data")

    newest = client.http.get("/files", params={"purpose": "batch", "limit": 2}).json()
    oldest = client.http.get("/files", params={"purpose": "batch", "order": "asc", "after": ids[0]}).json()

    assert ([file["id"] for file in newest["data"]], newest["has_more"]) == ([ids[2], ids[1]], True)
    assert ([file["id"] for file in oldest["data"]], oldest["has_more"]) == (ids[1:], False)
    assert client.http.get("/files?order=up").status_code == 400


def test_a_file_is_deleted_once(client: ShortClient) -> None:
    """The first delete says so, the second finds nothing; a content type without a body does not matter."""
    file_id = client.upload(rows(1))
    headers = {"content-type": "application/json"}
    first = client.http.request("DELETE", f"/files/{file_id}", headers=headers)
    second = client.http.request("DELETE", f"/files/{file_id}", headers=headers)

    assert first.json() == {"id": file_id, "object": "file", "deleted": True}
    assert (second.status_code, second.json()["error"]["message"]) == (404, f"No such File object: {file_id}")


@pytest.mark.parametrize(
    "path", ["/files/file-x", "/files/file-x/content", "/files?after=file-x", "/files/..%2f..%2fetc"]
)
def test_unknown_files_are_not_found(client: ShortClient, path: str) -> None:
    """Ids are looked up, never used as paths."""
    assert client.http.get(path).status_code == 404


def test_files_can_end(client: ShortClient, clock: FakeClock) -> None:
    """expires_after is shown and kept."""
    data = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = client.post_file(rows(1), **data).json()
    clock.advance(3_600)

    assert made["expires_at"] == made["created_at"] + 3_600
    assert client.http.get(f"/files/{made['id']}").status_code == 404


def test_a_json_body_is_not_an_upload(client: ShortClient) -> None:
    """Only multipart is."""
    answer = client.http.post("/files", json={"purpose": "batch"})

    assert (answer.status_code, "multipart" in answer.json()["error"]["message"]) == (400, True)


def test_oversized_uploads_are_413(clock: FakeClock) -> None:
    """The answer comes while the client is still sending, and the connection remains usable."""
    with SandboxServer(limits=Limits(max_file_bytes=1_000)) as server, httpx.Client(base_url=server.url) as http:
        client = ShortClient(http, clock)

        assert client.post_file(b"x" * 3_000_000).status_code == 413
        assert client.post_file(b"x" * 1_000).status_code == 200


def test_a_client_that_leaves_leaves_nothing(server: SandboxServer, client: ShortClient) -> None:
    """Half an upload is not a file, and what arrived of it is removed."""

    def pieces() -> object:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + b"x" * 2_000_000
        raise KeyError("the client broke down")

    with pytest.raises(KeyError):
        client.http.post("/files", content=pieces(), headers={"content-type": "multipart/form-data; boundary=B"})  # type: ignore[arg-type]

    client.upload(rows(1))
    assert len(server.files()) == 1


def test_a_download_survives_a_delete(client: ShortClient) -> None:
    """A file that is being read stays readable to its end."""
    content = rows(100_000)
    file_id = client.upload(content)
    with client.http.stream("GET", f"/files/{file_id}/content") as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        assert httpx.delete(f"{client.http.base_url}files/{file_id}").status_code == 200
        assert first + b"".join(pieces) == content
