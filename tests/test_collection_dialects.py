"""Results of services and gateways that write them in their own way."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import BatchFailedError, DownloadError

ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Amodel-invocation-job%2Fabc"
OCTETS = "application/octet-stream"


class FakeGateway:
    """A gateway with one batch; it answers every download with the same pieces, chunked and without a length."""

    def __init__(self, pieces: Iterable[bytes], content_type: str = OCTETS, status: int = 200) -> None:
        self.pieces, self.content_type, self.status = list(pieces), content_type, status
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.paths.append(path)
        if path.endswith(("/output", "/content")):
            return httpx.Response(self.status, headers={"content-type": self.content_type}, content=iter(self.pieces))
        return httpx.Response(404, json={"error": {"message": "no such route"}})

    def collect(self, folder: Path, *, results_from: Any = "output", **batch: Any) -> dict[str, Any]:
        settings = ServiceSettings(
            base_url="http://gateway.test/v1", results_from=results_from, is_gateway=True, max_retries=1
        )
        transport = httpx.MockTransport(self)
        options = {"id": ARN, "status": BatchStatus.COMPLETED, "output_file_id": "s3%3A%2F%2Fbucket%2Ffolder"} | batch
        with BatchClient(settings, transport=transport, sleep=lambda seconds: None) as client:
            return collect_results(client, Batch(**options), str(folder))


ROWS = [
    {"custom_id": "row-1", "response": {"status_code": 200, "body": {"choices": []}}},
    {"errorCode": 400, "errorMessage": "too long"},
    {"custom_id": "row-3", "response": {"status_code": 200, "body": {"choices": []}}},
]


def lines(end: bytes, *, last: bool = True) -> bytes:
    return end.join(json.dumps(row).encode() for row in ROWS) + (end if last else b"")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lines(b"\n"), id="lf"),
        pytest.param(lines(b"\r\n"), id="crlf-like-bedrock"),
        pytest.param(lines(b"\n", last=False), id="no-last-line-break"),
        pytest.param(lines(b"\n\n"), id="blank-lines"),
    ],
)
@pytest.mark.parametrize("size", [pytest.param(7, id="small-pieces"), pytest.param(1 << 20, id="one-piece")])
def test_rows_of_the_output_route_are_counted_and_kept_as_they_are(tmp_path: Path, content: bytes, size: int) -> None:
    """The gateway's output route gives one file, with rows that have no custom_id in it, byte for byte."""
    gateway = FakeGateway([content[i : i + size] for i in range(0, len(content), size)])
    results = gateway.collect(tmp_path)
    assert results["errors"] is None
    assert (results["output"]["rows"], results["output"]["bytes"]) == (3, len(content))
    assert Path(results["output"]["path"]).read_bytes() == content


def test_an_encoded_id_goes_back_verbatim_and_into_a_plain_file_name(tmp_path: Path) -> None:
    """Ids that are percent-encoded are neither encoded nor decoded in paths, and are harmless in file names."""
    gateway = FakeGateway([lines(b"\n")])
    results = gateway.collect(tmp_path)
    assert gateway.paths == [f"/v1/batches/{ARN}/output"]
    (name,) = [path.name for path in tmp_path.iterdir()]
    assert results["output"]["path"] == f"{tmp_path}/{name}"
    assert name == "arn_3Aaws_3Abedrock_3Aus-east-1_3A123456789012_3Amodel-invocation-job_2Fabc_output.jsonl"


@pytest.mark.parametrize(
    "batch_id", [pytest.param("../../etc/x", id="climbing"), pytest.param("a/b\\c:d", id="separators"), pytest.param("x" * 999, id="long")]
)  # fmt: skip
def test_an_id_never_leads_out_of_the_folder(tmp_path: Path, batch_id: str) -> None:
    """Whatever an id is made of, its file is in the folder it was meant for."""
    folder = tmp_path / "in"
    gateway = FakeGateway([lines(b"\n")])
    results = gateway.collect(folder, id=batch_id, results_from="files", output_file_id="file-1")
    assert Path(results["output"]["path"]).parent == folder
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    "content_type", [pytest.param("text/plain;charset=UTF-8", id="text"), pytest.param("application/json", id="json")]
)
def test_errors_in_place_of_rows_are_refused(tmp_path: Path, content_type: str) -> None:
    """The route answers 200 with the batch's errors as text when it failed; that is not a file of rows."""
    gateway = FakeGateway([b'{"object": "list", "data": [{"code": "failed"}]}'], content_type)
    with pytest.raises(DownloadError, match="not a file of rows"):
        gateway.collect(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("results_from", ["output", "files"])
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"custom_id": "row-1"}\n{"custom_id": "ro', id="cut-in-a-row"),
        pytest.param(b'{"custom_id": "row-1"}\nnull\n', id="not-an-object"),
        pytest.param(b"<html><body>502</body></html>", id="html"),
        pytest.param(b'{"custom_id": "\xff"}\n', id="not-utf8"),
    ],
)
def test_what_is_not_rows_is_not_kept(tmp_path: Path, content: bytes, results_from: str) -> None:
    """Without a size to compare with, the rows themselves show that a file is not whole."""
    gateway = FakeGateway([content])
    with pytest.raises(DownloadError, match="is not a whole JSON object"):
        gateway.collect(tmp_path, results_from=results_from)
    assert list(tmp_path.iterdir()) == []
    assert len([path for path in gateway.paths if path.endswith(("/output", "/content"))]) == 2


def test_a_failed_batch_behind_the_output_route_says_that_it_failed(tmp_path: Path) -> None:
    """File ids mean nothing there (the folder is named from the start), so a failed batch is not asked for rows."""
    gateway = FakeGateway([lines(b"\n")])
    with pytest.raises(BatchFailedError):
        gateway.collect(tmp_path, status=BatchStatus.FAILED, error_file_id="gs%3A%2F%2Fbucket%2Fprefix")
    assert gateway.paths == []


def test_a_file_wrapped_by_the_gateway_is_unwrapped(tmp_path: Path) -> None:
    """A gateway that puts text files into JSON gives the file that the service wrote."""
    wrapped = json.dumps({"html-message": lines(b"\n").decode()}, separators=(",", ":")).encode()
    gateway = FakeGateway([wrapped[i : i + 11] for i in range(0, len(wrapped), 11)], "application/json")
    results = gateway.collect(tmp_path, results_from="files", output_file_id="file-1")
    assert Path(results["output"]["path"]).read_bytes() == lines(b"\n")
    assert results["output"]["rows"] == 3
