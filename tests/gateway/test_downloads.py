"""Files on their way out through the gateway, whole and broken; and the gateway that breaks all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, errors
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiConnectionError, ApiError, DownloadError, GatewayError
from airflow_batch_provider.sandbox import SandboxServer
from tests.gateway.support import (
    BODY,
    Connect,
    FakeClock,
    download,
    read_rows,
    rows,
    settings,
    small_upload,
    upload_path,
    wait,
)
from tests.gateway.upstream import FILE, Answer, Upstream
from tests.servers import Server, require
from tests.servers.portkey import portkey_gateway

CONTENT = '{"custom_id": "a", "text": "é € 𝄞 \\" \\\\ \u2028"}\r\n{"custom_id": "b"}\n'.encode()
ROUTE = "GET /files/{id}/content"


# Content types


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "binary/octet-stream", "text/plain", "text/plain; charset=utf-8", "text/html"],
)
def test_the_bytes_are_the_services_own(
    connect: Connect, upstream: Upstream, tmp_path: Path, content_type: str
) -> None:
    """Raw or wrapped in JSON by the gateway, what lands on disk is what the service sent."""
    upstream.on("GET /files/file-1/content", Answer(200, CONTENT, content_type))
    size = download(connect(upstream.url), "file-1", tmp_path / "f", len(CONTENT))
    assert size == len(CONTENT)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_large_wrapped_file_is_unwrapped_whole(connect: Connect, upstream: Upstream, tmp_path: Path) -> None:
    """Wrapping works at any size: the client unwraps while it reads."""
    content = CONTENT * 40_000
    upstream.on("GET /files/file-1/content", Answer(200, content, "text/plain"))
    assert download(connect(upstream.url), "file-1", tmp_path / "f", len(content)) == len(content)
    assert (tmp_path / "f").read_bytes() == content


@pytest.mark.parametrize(
    "content_type",
    ["application/jsonl", "application/x-ndjson", "text/csv", "application/octet-stream; charset=utf-8", None],
)
def test_a_type_the_gateway_cannot_pass_on_is_named(
    connect: Connect, upstream: Upstream, pauses: list[float], tmp_path: Path, content_type: str | None
) -> None:
    """The gateway's 500 names both known causes, leaves no file and is not asked again."""
    upstream.on("GET /files/file-1/content", Answer(200, CONTENT, content_type))
    with pytest.raises(GatewayError, match=r"another content type than application/octet-stream") as raised:
        download(connect(upstream.url, max_retries=3), "file-1", tmp_path / "f")
    assert raised.value.code == errors.DOWNLOAD_BROKEN
    assert not raised.value.retryable
    assert pauses == []
    assert list(tmp_path.iterdir()) == []


# Files that break off


@pytest.fixture
def ended(connect: Connect, sandbox: SandboxServer, clock: FakeClock, tmp_path: Path) -> Batch:
    """Give a batch with 200 rows to collect."""
    client = connect(sandbox.url)
    file_id = upload_path(client, tmp_path / "in.jsonl", rows(200))
    return wait(client, client.create_batch({**BODY, "input_file_id": file_id}).id, clock)


def collect(client: BatchClient, batch: Batch, folder: Path) -> dict[str, Any]:
    return collect_results(client, batch, str(folder))


BREAKS = [
    pytest.param({"kind": "truncate", "at": 0.5}, ApiConnectionError, id="cut"),
    pytest.param({"kind": "truncate", "at": 0.5, "chunked": True}, ApiConnectionError, id="cut in chunks"),
    pytest.param({"kind": "truncate", "at": 0.5, "silent": True}, DownloadError, id="cut without a trace"),
    pytest.param({"kind": "truncate", "at": 0.0, "silent": True}, DownloadError, id="empty"),
    pytest.param({"kind": "corrupt", "count": 40}, DownloadError, id="altered"),
]


@pytest.mark.parametrize(("fault", "kind"), BREAKS)
def test_a_broken_download_leaves_nothing(
    connect: Connect,
    sandbox: SandboxServer,
    ended: Batch,
    tmp_path: Path,
    fault: dict[str, Any],
    kind: type[ApiError],
) -> None:
    """A file that is cut or altered on its way is an error that a retry may cure, and no part of it stays on disk."""
    sandbox.faults.add(ROUTE, **fault)
    with pytest.raises(kind) as raised:
        collect(connect(sandbox.url), ended, tmp_path / "out")
    assert raised.value.retryable
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("fault", [pytest.param(case.values[0], id=case.id) for case in BREAKS])
def test_a_broken_download_is_fetched_again_from_its_start(
    connect: Connect, sandbox: SandboxServer, ended: Batch, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """After two broken tries comes a whole one, and every row is there once."""
    sandbox.faults.add(ROUTE, times=2, **fault)
    result = collect(connect(sandbox.url, max_retries=5), ended, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert len(read_rows(result["output"]["path"])) == 200


def test_a_gateway_that_dies_of_a_broken_download_costs_a_retry(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, tmp_path: Path
) -> None:
    """A small file whose transfer breaks off kills this gateway; once it is started again, all is as if it had not."""
    client = connect(sandbox.url, max_retries=5)
    file_id = upload_path(client, tmp_path / "in.jsonl", rows(1))
    batch = wait(client, client.create_batch({**BODY, "input_file_id": file_id}).id, clock)
    sandbox.faults.add(ROUTE, "truncate", times=1)
    result = collect(client, batch, tmp_path / "out")
    assert result["output"]["rows"] == 1
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_wrapped_file_that_is_cut_is_an_error(connect: Connect, upstream: Upstream, tmp_path: Path) -> None:
    """Cut behind the gateway's back, text is not passed on as if it were whole."""
    upstream.on("GET /files/file-1/content", Answer(200, CONTENT * 500, "text/plain", sent=9000))
    with pytest.raises(ApiError):
        download(connect(upstream.url), "file-1", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_short_file_is_kept_when_the_sizes_are_not_to_be_believed(
    connect: Connect, upstream: Upstream, tmp_path: Path
) -> None:
    """A service that reports wrong sizes is usable with the check switched off."""
    upstream.on("GET /files/file-1", Answer.of({**FILE, "bytes": 10_000}))
    upstream.on("GET /files/file-1/content", Answer(200, b'{"custom_id": "a"}\n', "application/octet-stream"))
    batch = Batch("batch_1", status=BatchStatus.COMPLETED, output_file_id="file-1")
    with pytest.raises(DownloadError, match="Check file sizes"):
        collect(connect(upstream.url), batch, tmp_path)
    result = collect(connect(upstream.url, check_file_sizes=False), batch, tmp_path)
    assert result["output"] == {"path": f"{tmp_path}/batch_1_output.jsonl", "rows": 1, "bytes": 19}


# The gateway as a plain npm install gives it


@pytest.fixture(scope="module")
def broken_gateway() -> Iterator[Server]:
    with require(portkey_gateway(unpinned=True)) as server:
        yield server


def test_the_gateway_that_breaks_all_downloads_is_recognised(
    broken_gateway: Server, sandbox: SandboxServer, clock: FakeClock, tmp_path: Path
) -> None:
    """Everything works up to the download; that one names the issue and the remedy, once, and loses nothing."""
    pauses: list[float] = []
    connection = settings(broken_gateway, sandbox.url, max_retries=3)
    with BatchClient(connection, sleep=pauses.append) as client:
        file_id = client.upload_file(small_upload(rows(3))).id
        batch = wait(client, client.create_batch({**BODY, "input_file_id": file_id}).id, clock)
        with pytest.raises(GatewayError, match="Portkey-AI/gateway issue 1389") as raised:
            collect(client, batch, tmp_path / "out")
    assert "pin @hono/node-server to 1.13.5" in str(raised.value)
    assert "nothing is lost" in str(raised.value)
    assert (raised.value.status_code, raised.value.code) == (500, errors.DOWNLOAD_BROKEN)
    assert not raised.value.retryable
    assert pauses == []
    assert sandbox.calls[ROUTE] == 1
    assert list((tmp_path / "out").glob("*")) == []
    assert len(sandbox.files()) == 2
