"""What reaches the service: the bytes of an upload, the body of the paid call, headers, ids, cursors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.exceptions import SubmissionUnknownError
from tests.gateway.support import BODY, KEY, Connect, download, small_upload, upload_path
from tests.gateway.upstream import BATCH, FILE, Answer, Upstream

REQUEST = json.dumps({"custom_id": "a", "method": "POST", "url": BODY["endpoint"], "body": {"model": "m", "é": "𝄞"}}, ensure_ascii=False)  # fmt: skip


def test_an_upload_arrives_byte_for_byte(connect: Connect, upstream: Upstream, tmp_path: Path) -> None:
    """Two parts, purpose first and without a type, exactly the checked file inside; the gateway sends it chunked."""
    upstream.on("POST /files", Answer.of(FILE, 201))
    assert upload_path(connect(upstream.url), tmp_path / "my rows.jsonl", REQUEST.encode()) == "file-1"
    (seen,) = upstream.seen
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", seen.headers["content-type"])
    assert boundary is not None
    lines = [
        f"--{boundary[1]}",
        'Content-Disposition: form-data; name="purpose"',
        "",
        "batch",
        f"--{boundary[1]}",
        'Content-Disposition: form-data; name="file"; filename="my_rows.jsonl"',
        "Content-Type: application/jsonl",
        "",
        REQUEST,
        f"--{boundary[1]}--",
        "",
    ]
    assert seen.body.replace(b"\n\r\n--", b"\r\n--") == "\r\n".join(lines).encode()
    assert seen.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in seen.headers


@pytest.mark.parametrize(
    ("call", "make"),
    [
        pytest.param("POST /files", lambda client: client.upload_file(small_upload()), id="upload"),
        pytest.param("POST /batches", lambda client: client.create_batch(BODY), id="create"),
        pytest.param("GET /batches/batch_1", lambda client: client.get_batch("batch_1"), id="get"),
        pytest.param("DELETE /files/file-1", lambda client: client.delete_file("file-1"), id="delete"),
    ],
)
def test_only_the_key_and_what_is_named_reach_the_service(
    connect: Connect, upstream: Upstream, call: str, make: Callable[[BatchClient], object]
) -> None:
    """The service gets its key and the forwarded headers; the gateway's own fields and all others stay behind."""
    upstream.on(call, Answer.of({**BATCH, "deleted": True}))
    client = connect(
        upstream.url,
        portkey_api_key="pk-portkey-secret",
        metadata={"team": "x"},
        trace_id="trace-1",
        openai_organization="org-1",
        openai_project="proj-1",
        forward_headers="idempotency-key,x-team",
        extra_headers={"X-Team": "blue", "X-Other": "stays"},
        secret_headers={"Idempotency-Key": "once"},
    )
    make(client)
    (seen,) = upstream.seen
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["idempotency-key"] == "once"
    assert seen.headers["x-team"] == "blue"
    assert seen.headers["openai-organization"] == "org-1"
    assert seen.headers["openai-project"] == "proj-1"
    assert "x-other" not in seen.headers
    # With uploads the gateway itself passes this one on; it holds no secret.
    assert seen.headers.get("x-portkey-file-purpose", "batch") == "batch"
    assert {name for name in seen.headers if "portkey" in name} <= {"x-portkey-file-purpose"}
    assert "pk-portkey-secret" not in str(seen)


def test_the_key_of_a_config_beats_the_password(connect: Connect, upstream: Upstream) -> None:
    """A connection whose config holds the service's key needs none beside it."""
    upstream.on("GET /batches/batch_1", Answer.of(BATCH))
    config = {"provider": "openai", "api_key": "sk-of-the-config", "custom_host": upstream.url}
    connect(None, provider=None, secret_config=config).get_batch("batch_1")
    connect(None, provider=None, secret_config=config, password=None).get_batch("batch_1")
    assert [seen.headers["authorization"] for seen in upstream.seen] == ["Bearer sk-of-the-config"] * 2


def test_the_paid_call_keeps_what_the_gateway_knows(connect: Connect, upstream: Upstream) -> None:
    """Metadata, also with characters of all kinds, arrive as given; fields the gateway does not know are lost there."""
    upstream.on("POST /batches", Answer.of(BATCH))
    metadata = {"airflow_key": "k" * 32, "name": 'Zürich "€" 𝄞'}
    expiry = {"anchor": "created_at", "seconds": 3600}
    connect(upstream.url).create_batch({**BODY, "metadata": metadata, "output_expires_after": expiry, "model": "m"})
    (seen,) = upstream.seen
    assert json.loads(seen.body) == {**BODY, "metadata": metadata, "output_expires_after": expiry}
    assert seen.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "remote_id", ["arn%3Aaws%3Abedrock%3Aeu%2Fjob-1", "gs%3A%2F%2Fbucket%2Fa.jsonl", "batch_1-A.b~c"]
)
def test_ids_go_back_as_they_came(connect: Connect, upstream: Upstream, remote_id: str, tmp_path: Path) -> None:
    """Percent-encoded ids are neither encoded again nor decoded, on any route."""
    client = connect(upstream.url)
    upstream.on(f"GET /batches/{remote_id}", Answer.of({**BATCH, "id": remote_id}))
    upstream.on(f"POST /batches/{remote_id}/cancel", Answer.of({**BATCH, "id": remote_id}))
    upstream.on(f"GET /files/{remote_id}", Answer.of({**FILE, "id": remote_id}))
    upstream.on(f"DELETE /files/{remote_id}", Answer.of({"deleted": True}))
    assert client.get_batch(remote_id).id == remote_id
    assert client.cancel_batch(remote_id).id == remote_id
    assert client.get_file(remote_id).id == remote_id
    assert client.delete_file(remote_id)
    upstream.on(f"GET /files/{remote_id}/content", Answer(200, b"x", "application/octet-stream"))
    assert download(client, remote_id, tmp_path / "f") == 1
    assert [seen.target for seen in upstream.seen] == [
        f"/v1/batches/{remote_id}",
        f"/v1/batches/{remote_id}/cancel",
        f"/v1/files/{remote_id}",
        f"/v1/files/{remote_id}",
        f"/v1/files/{remote_id}/content",
    ]


def test_list_cursors_pass_unchanged(connect: Connect, upstream: Upstream) -> None:
    """The service's own ``last_id`` comes back to it as ``after``."""
    upstream.on(
        "GET /batches",
        Answer.of({"data": [BATCH], "has_more": True, "last_id": "cur sor/+&%2F"}),
        Answer.of({"data": [], "has_more": False}),
    )
    assert [batch.id for batch in connect(upstream.url).list_batches(page_size=7)] == ["batch_1"]
    assert [seen.target for seen in upstream.seen] == [
        "/v1/batches?limit=7",
        "/v1/batches?limit=7&after=cur+sor%2F%2B%26%252F",
    ]


def test_a_cancel_answer_that_says_nothing_is_followed_by_a_look(connect: Connect, upstream: Upstream) -> None:
    """Services that answer ``{}`` to a cancel are asked for the batch; the cancel itself carries no body."""
    upstream.on("POST /batches/batch_1/cancel", Answer.of({}))
    upstream.on("GET /batches/batch_1", Answer.of({**BATCH, "status": "cancelling"}))
    assert connect(upstream.url).cancel_batch("batch_1").raw_status == "cancelling"
    assert upstream.seen[0].body == b""


def test_json_that_is_sent_as_text_is_read(connect: Connect, upstream: Upstream) -> None:
    """A service that sends its JSON as text/plain, which the gateway wraps, is understood all the same."""
    upstream.on("GET /batches/batch_1", Answer(200, json.dumps(BATCH).encode(), "text/plain"))
    assert connect(upstream.url).get_batch("batch_1").id == "batch_1"


# Retries: the client's own, and those of a gateway's config

RETRY = {"attempts": 2, "on_status_codes": [429, 503]}
BUSY = Answer.refusal(503, "busy")


def _configs(url: str) -> dict[str, dict[str, object]]:
    target = {"provider": "openai", "api_key": KEY, "custom_host": url}
    alone: dict[str, object] = {"provider": None, "custom_host": None}
    return {
        "next to a provider": {"secret_config": {"retry": RETRY}},
        "whole": {**alone, "secret_config": {**target, "retry": RETRY}},
        "without a key": {**alone, "secret_config": {"provider": "openai", "custom_host": url, "retry": RETRY}},
        "in a target": {
            **alone,
            "secret_config": {"strategy": {"mode": "fallback"}, "targets": [{**target, "retry": RETRY}]},
        },
        "above a target": {
            **alone,
            "secret_config": {"strategy": {"mode": "loadbalance"}, "targets": [target], "retry": RETRY},
        },
    }


config_kinds = pytest.mark.parametrize("kind", _configs(""))


def _client(connect: Connect, upstream: Upstream, kind: str) -> BatchClient:
    extra = {"custom_host": upstream.url, **_configs(upstream.url)[kind]}
    return connect(None, **extra)


@config_kinds
def test_a_config_with_retries_never_pays_twice(connect: Connect, upstream: Upstream, kind: str) -> None:
    """However the config asks for retries, a service that fails on the paid call sees it exactly once."""
    upstream.on("POST /batches", BUSY, Answer.of(BATCH))
    with pytest.raises(SubmissionUnknownError, match="busy"):
        _client(connect, upstream, kind).create_batch(BODY)
    assert upstream.calls() == ["POST /batches"]


@config_kinds
def test_a_config_with_retries_does_not_stand_in_the_way_of_money(
    connect: Connect, upstream: Upstream, kind: str
) -> None:
    """What is left of the config without its retries is still one that the gateway accepts."""
    upstream.on("POST /batches", Answer.of(BATCH))
    upstream.on("POST /files", Answer.of(FILE))
    client = _client(connect, upstream, kind)
    assert client.upload_file(small_upload()).id == "file-1"
    assert client.create_batch(BODY).id == "batch_1"


@config_kinds
def test_a_config_with_retries_does_not_hide_why_an_upload_failed(
    connect: Connect, upstream: Upstream, kind: str
) -> None:
    """The gateway cannot send a stream twice; without its retries the service's real answer comes through."""
    upstream.on("POST /files", Answer.refusal(503, "really busy", Retry_After="9"), Answer.of(FILE))
    with pytest.raises(Exception, match=r"503: really busy") as raised:
        _client(connect, upstream, kind).upload_file(small_upload())
    assert getattr(raised.value, "retry_after", None) == 9.0
    assert upstream.calls() == ["POST /files"]


def test_a_config_with_retries_still_works_for_questions(connect: Connect, upstream: Upstream) -> None:
    """For calls that cost nothing the user's config is left as it is."""
    upstream.on("GET /batches/batch_1", BUSY, Answer.of(BATCH))
    config = {"retry": {"attempts": 1, "on_status_codes": [503]}}
    assert connect(upstream.url, secret_config=config).get_batch("batch_1").id == "batch_1"
    assert len(upstream.seen) == 2


def test_the_paid_call_waits_as_long_as_a_busy_service_wants(
    connect: Connect, upstream: Upstream, pauses: list[float]
) -> None:
    """429 is a sure "not created": the client asks again, after the service's own Retry-After."""
    upstream.on("POST /batches", Answer.refusal(429, "slow down", Retry_After="7"), Answer.of(BATCH))
    assert connect(upstream.url, max_retries=1).create_batch(BODY).id == "batch_1"
    assert pauses == [7.0]
    assert len(upstream.seen) == 2


def test_an_upload_starts_again_from_its_beginning(connect: Connect, upstream: Upstream) -> None:
    """The second try of an upload sends the whole file again."""
    upstream.on("POST /files", BUSY, Answer(sent=0), Answer.of(FILE))
    content = REQUEST.encode() * 5000
    assert connect(upstream.url, max_retries=2).upload_file(small_upload(content)).id == "file-1"
    assert [seen.body.count(REQUEST.encode()) for seen in upstream.seen] == [5000] * 3
