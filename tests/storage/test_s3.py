"""Object storage for real: Airflow's amazon provider and s3fs against a local S3 server."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.collection import collect_results
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.limits import DEFAULT_LIMITS
from airflow_batch_provider.exceptions import DownloadError, InputError
from airflow_batch_provider.intake import check_file, upload_checked
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.storage import paths, sources, whole_files
from tests.samples import create_batch, jsonl, request

BUCKET = "lake-of-tests"


@dataclass
class Lake:
    """A bucket, seen from the outside."""

    s3: Any

    def url(self, key: str) -> str:
        return f"s3://lake@{BUCKET}/{key}"

    def put(self, key: str, content: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return self.url(key)

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def objects(self) -> list[str]:
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def unfinished(self) -> list[str]:
        return [found["Key"] for found in self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """Give a local S3 server, and an Airflow connection ``lake`` to it."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    moto_server = pytest.importorskip("moto.server")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test-login", "password": "test-password", "extra": extra}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
        yield boto3.client("s3", aws_access_key_id="test-login", aws_secret_access_key="test-password", **extra)
    server.stop()


@pytest.fixture
def lake(s3: Any) -> Lake:
    """Give an empty bucket."""
    lake = Lake(s3)
    s3.create_bucket(Bucket=BUCKET)
    for key in lake.objects():
        s3.delete_object(Bucket=BUCKET, Key=key)
    return lake


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[BatchClient]:
    settings = ServiceSettings(base_url=sandbox.url, max_retries=1)
    with BatchClient(settings, sleep=lambda seconds: None) as client:
        yield client


def write(url: str, piece: bytes, pieces: int, error: type[Exception] | None = None) -> None:
    with whole_files.WholeFile(paths.as_path(url)) as stream:
        for _ in range(pieces):
            stream.write(piece)
        if error is not None:
            raise error


SIZES = [pytest.param(1, id="one-piece"), pytest.param(60, id="multipart")]


@pytest.mark.parametrize("megabytes", SIZES)
def test_an_object_appears_whole(lake: Lake, megabytes: int) -> None:
    """A written object is there after the block, with all its bytes, and leaves no unfinished upload."""
    write(lake.url("deep/er/out.jsonl"), b"x" * (1 << 20), megabytes)
    assert len(lake.get("deep/er/out.jsonl")) == megabytes << 20
    assert lake.unfinished() == []


@pytest.mark.parametrize("megabytes", SIZES)
def test_a_truncated_object_never_appears(lake: Lake, megabytes: int) -> None:
    """When writing fails, neither an object nor an unfinished upload is left, also after the stream is collected."""
    with pytest.raises(RuntimeError):
        write(lake.url("out.jsonl"), b"x" * (1 << 20), megabytes, RuntimeError)
    gc.collect()
    assert lake.objects() == []
    assert lake.unfinished() == []


def test_an_existing_object_survives_a_failed_overwrite(lake: Lake) -> None:
    """The old object stays until the new one is whole."""
    url = lake.put("out.jsonl", b"old")
    with pytest.raises(RuntimeError):
        write(url, b"new", 1, RuntimeError)
    assert lake.get("out.jsonl") == b"old"
    write(url, b"new", 1)
    assert lake.get("out.jsonl") == b"new"


@pytest.mark.parametrize(
    "key", [pytest.param("missing.jsonl", id="missing"), pytest.param("folder", id="folder"), pytest.param("folder/", id="slash")]
)  # fmt: skip
def test_a_missing_object_and_a_folder_are_named(lake: Lake, key: str) -> None:
    """What is no object is an InputError, not an empty file."""
    lake.put("folder/x.jsonl", b"{}\n")
    with pytest.raises(InputError, match=f"There is no file s3://lake@{BUCKET}/{key.rstrip('/')}; nothing was sent"):
        check_file(lake.url(key), DEFAULT_LIMITS, None)


def test_a_missing_bucket_is_named(s3: Any) -> None:
    """A bucket that does not exist is an InputError too."""
    with pytest.raises(InputError, match="There is no file s3://lake@no-such-bucket/x; nothing was sent"):
        check_file("s3://lake@no-such-bucket/x", DEFAULT_LIMITS, None)


def test_an_object_is_read_although_its_name_begins_others(lake: Lake) -> None:
    """On object stores "a" may be an object while "a/b" is another."""
    url = lake.put("requests", jsonl([request(1)]))
    lake.put("requests/more", b"other")
    assert paths.file_size(paths.as_path(url)) == len(lake.get("requests"))
    assert check_file(url, DEFAULT_LIMITS, None).found.requests == 1


def test_a_large_object_arrives_unaltered(lake: Lake, sandbox: SandboxServer, client: BatchClient) -> None:
    """An input of more than one block of s3fs is checked and uploaded byte for byte."""
    content = jsonl([request(number, body={"model": "m", "input": "é" * 500}) for number in range(3_100)])
    assert len(content) > 9 << 20
    checked = check_file(lake.put("big.jsonl", content), client.settings.limits, None)
    remote = upload_checked(client, checked, None)
    assert (checked.found.requests, remote.bytes, remote.filename) == (3_100, len(content), "big.jsonl")
    assert httpx.get(f"{sandbox.url}/files/{remote.id}/content").content == content


def test_an_object_that_changed_since_the_check_is_not_uploaded(
    lake: Lake, sandbox: SandboxServer, client: BatchClient
) -> None:
    """Another content of the same length is noticed, and the service gets no file."""
    url = lake.put("in.jsonl", jsonl([request(1)]))
    checked = check_file(url, client.settings.limits, None)
    lake.put("in.jsonl", jsonl([request(2)]))
    with pytest.raises(InputError, match="changed between the check and the upload"):
        upload_checked(client, checked, None)
    assert sandbox.files() == []


def ended(client: BatchClient, directives: str) -> Batch:
    batch = create_batch(client, requests=40, sandbox=directives)
    while not batch.status.has_ended:
        batch = client.get_batch(batch.id)
    return batch


def test_results_land_as_objects(lake: Lake, client: BatchClient) -> None:
    """Output and errors of a batch become two objects in the folder, as long as the report says."""
    batch = ended(client, "fail_rows=0.25")
    results = collect_results(client, batch, lake.url("labels/2026/"))
    assert lake.objects() == [f"labels/2026/{batch.id}_errors.jsonl", f"labels/2026/{batch.id}_output.jsonl"]
    for name in ("output", "errors"):
        part = results[name]
        content = lake.get(part["path"].removeprefix(lake.url("")))
        assert (len(content), content.count(b"\n")) == (part["bytes"], part["rows"])
    assert results["output"]["rows"] + results["errors"]["rows"] == 40


def test_an_empty_error_file_leaves_no_object(lake: Lake, client: BatchClient) -> None:
    """A 0-byte error file is no file."""
    batch = ended(client, "zero_byte_error_file=true")
    results = collect_results(client, batch, lake.url("labels"))
    assert results["errors"] is None
    assert lake.objects() == [f"labels/{batch.id}_output.jsonl"]


def test_a_broken_download_is_repeated_and_never_seen(lake: Lake, sandbox: SandboxServer, client: BatchClient) -> None:
    """A download that breaks once is fetched again; one that always breaks leaves no object."""
    batch = ended(client, "")
    sandbox.faults.add("GET /files/{id}/content", "truncate", silent=True)
    with pytest.raises(DownloadError):
        collect_results(client, batch, lake.url("labels"))
    gc.collect()
    assert lake.objects() == []
    assert lake.unfinished() == []
    sandbox.faults.clear()
    sandbox.faults.add("GET /files/{id}/content", "truncate", silent=True, times=1)
    results = collect_results(client, batch, lake.url("labels"))
    assert results["output"]["rows"] == 40
    assert len(lake.get(f"labels/{batch.id}_output.jsonl")) == results["output"]["bytes"]


def test_a_glob_finds_objects_in_any_folder(lake: Lake) -> None:
    """Like on local disk, and each with the connection that it is read with."""
    for key in (
        "dt=1/b.jsonl.gz",
        "dt=1/a.jsonl.gz",
        "dt=1/c.csv",
        "dt=2/late/d.jsonl.gz",
        "x/e.jsonl.gz",
        "f.jsonl.gz",
    ):
        lake.put(f"prompts/{key}", b"")

    def found(pattern: str) -> list[str]:
        return [str(path) for path in sources.find_files(lake.url(pattern))]

    assert found("prompts/dt=*/*.jsonl.gz") == [lake.url(f"prompts/dt=1/{name}.jsonl.gz") for name in "ab"]
    assert found("prompts/dt=*/**/*.jsonl.gz") == [
        lake.url(f"prompts/{key}.jsonl.gz") for key in ("dt=1/a", "dt=1/b", "dt=2/late/d")
    ]
    assert found("**/[ef]?jsonl.gz") == [lake.url("prompts/f.jsonl.gz"), lake.url("prompts/x/e.jsonl.gz")]
    assert found("prompts/d**/*.csv") == [lake.url("prompts/dt=1/c.csv")]
    assert sources.find_files(lake.url("*/x/*"))[0].conn_id == "lake"


def test_objects_whose_names_look_like_globs_are_those_objects(lake: Lake) -> None:
    """Marks count only where nothing has them in its name."""
    for key in ("[ab]/c.jsonl", "[ab]/[c].jsonl", "a/c.jsonl", "what?/c.jsonl"):
        lake.put(key, b"")

    for pattern, key in (
        ("[ab]/[c].jsonl", "[ab]/[c].jsonl"),
        ("[ab]/c.*", "[ab]/c.jsonl"),
        ("what?/[c].jsonl", "what?/c.jsonl"),
    ):
        assert [str(path) for path in sources.find_files(lake.url(pattern))] == [lake.url(key)]


def test_a_glob_does_not_ask_for_each_object(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be thousands, and the listing says all that is needed; it shows folders made by hand too."""
    for number in range(50):
        lake.put(f"prompts/dt={number % 5}/{number}.jsonl", b"{}")
    lake.put("prompts/dt=0/made.jsonl/", b"")
    asked: list[str] = []
    fs = paths.as_path(lake.url("prompts")).fs
    call_s3 = fs._call_s3

    async def counted(method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        return await call_s3(method, *args, **kwargs)

    monkeypatch.setattr(fs, "_call_s3", counted)
    for pattern, count in (("dt=*/*.jsonl", 50), ("**/*.jsonl", 50), ("dt=*/**/1*.jsonl", 11)):
        asked.clear()

        assert len(sources.find_files(lake.url(f"prompts/{pattern}"))) == count
        assert len(asked) <= 12
