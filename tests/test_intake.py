"""From a file of requests to a file at the service: checked, cleaned, and exactly what was checked."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.limits import DEFAULT_LIMITS, BatchLimits
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.intake import check_file, upload_checked
from airflow_batch_provider.sandbox import SandboxServer
from tests.samples import ENDPOINT, jsonl, request

CLEAN = jsonl([request(number) for number in range(3)])
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[BatchClient]:
    settings = ServiceSettings(base_url=sandbox.url, max_retries=1)
    with BatchClient(settings, sleep=lambda seconds: None) as client:
        yield client


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(CLEAN)
    return path


def content_of(sandbox: SandboxServer, file_id: str) -> bytes:
    return httpx.get(f"{sandbox.url}/files/{file_id}/content").content


def take_in(client: BatchClient, path: Path | str, endpoint: str | None = None, filename: str | None = None) -> str:
    return upload_checked(client, check_file(str(path), client.settings.limits, endpoint), filename).id


def test_a_good_file_arrives_as_it_is(sandbox: SandboxServer, client: BatchClient, prompts: Path) -> None:
    """A clean file is uploaded byte for byte, under its own name, and can be made a batch of."""
    checked = check_file(str(prompts), client.settings.limits, ENDPOINT)
    assert checked.found == (3, len(CLEAN), ENDPOINT, False)
    assert checked.raw_bytes == len(CLEAN)
    remote = upload_checked(client, checked, None)
    assert (remote.filename, remote.bytes, remote.purpose) == ("prompts.jsonl", len(CLEAN), "batch")
    assert content_of(sandbox, remote.id) == CLEAN


@pytest.mark.parametrize(
    "dirty",
    [
        pytest.param(BOM + CLEAN, id="byte-order-mark"),
        pytest.param(CLEAN.replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(b"\n" + CLEAN.replace(b"\n", b"\n\n  \n"), id="blank-lines"),
        pytest.param(CLEAN.rstrip(b"\n"), id="no-last-newline"),
        pytest.param(CLEAN.replace(b"\n", b" \n"), id="trailing-blanks"),
        pytest.param(CLEAN[:-1] + b" ", id="same-length"),
        pytest.param(BOM + b"\r\n" + CLEAN.replace(b"\n", b"\r\n \t\r\n").rstrip(), id="all-of-it"),
    ],
)
def test_a_dirty_file_arrives_clean(sandbox: SandboxServer, client: BatchClient, prompts: Path, dirty: bytes) -> None:
    """What services refuse is cleaned away on the way, and the length announced is that of the clean content."""
    prompts.write_bytes(dirty)
    assert content_of(sandbox, take_in(client, prompts)) == CLEAN


def test_text_beyond_ascii_arrives_unaltered(sandbox: SandboxServer, client: BatchClient, prompts: Path) -> None:
    """Raw UTF-8 is passed through, also separators that other tools take for line breaks."""
    odd = json.dumps(request(9, body={"input": "é \u2028 \u0085 😀"}), ensure_ascii=False).encode() + b"\n"
    prompts.write_bytes(odd)
    assert content_of(sandbox, take_in(client, prompts)) == odd


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param("night run é.jsonl", "night_run_.jsonl", id="odd-characters"),
        pytest.param("prompts.txt", "prompts.txt.jsonl", id="other-ending"),
    ],
)
def test_the_name_at_the_service_can_be_chosen(client: BatchClient, prompts: Path, given: str, shown: str) -> None:
    """Names are made fit for every service and end in .jsonl."""
    assert client.get_file(take_in(client, prompts, filename=given)).filename == shown


def test_problems_are_listed_by_line_and_nothing_is_sent(
    sandbox: SandboxServer, client: BatchClient, prompts: Path
) -> None:
    """The error reads like docs/experience says: how many, where, what, and what to do."""
    lines = jsonl([request(number) for number in range(1, 51)]).splitlines(keepends=True)
    lines[16] = b'{"custom_id": "row-17", "method": "POST"\n'
    lines[20] = jsonl([request(12)])
    lines[40] = jsonl([request(41, url="/v1/embeddings")])
    prompts.write_bytes(b"".join(lines))
    with pytest.raises(InputError) as caught:
        take_in(client, prompts, ENDPOINT)
    assert str(caught.value) == (
        "prompts.jsonl has 3 problems in 50 lines; nothing was sent.\n"
        "  line 17: not JSON (unexpected end of data at column 41)\n"
        '  line 21: custom_id "row-12" was already used in line 12\n'
        '  line 41: "url" is "/v1/embeddings" but the batch is for "/v1/chat/completions"\n'
        "Fix the file and run again. (Shown: all 3.)"
    )
    assert not sandbox.calls


def test_many_problems_are_counted_and_ten_are_shown(prompts: Path) -> None:
    """A file that is all wrong gives a readable error."""
    prompts.write_bytes(b"prompt of a customer\n" * 12_000)
    with pytest.raises(InputError) as caught:
        check_file(str(prompts), DEFAULT_LIMITS, None)
    first, *shown, last = str(caught.value).split("\n")
    assert first == "prompts.jsonl has 12,000 problems in 12,000 lines; nothing was sent."
    assert len(shown) == 10
    assert last == "Fix the file and run again. (Shown: the first 10 of 12,000.)"
    assert "customer" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "limits", "problem"),
    [
        pytest.param(b"", DEFAULT_LIMITS, "no requests in it", id="empty"),
        pytest.param(b"\n\r\n \n", DEFAULT_LIMITS, "no requests in it", id="blank"),
        pytest.param(CLEAN, BatchLimits(max_requests=2), "3 requests, but the service takes 2 per batch", id="requests"),
        pytest.param(
            CLEAN, BatchLimits(max_bytes=200), f"{len(CLEAN)} bytes, but the service takes 200 per batch", id="bytes"
        ),
        pytest.param(CLEAN + b"\xff\n", DEFAULT_LIMITS, "line 4: not UTF-8", id="not-utf8"),
        pytest.param(json.dumps([request(1)], indent=1).encode(), DEFAULT_LIMITS, "line 1: not JSON", id="an-array"),
        pytest.param(b"\x1f\x8b\x08\x00", DEFAULT_LIMITS, "line 1: not", id="gzip"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_batch_is_refused(prompts: Path, content: bytes, limits: BatchLimits, problem: str) -> None:
    """Empty, too large and foreign files are refused by name before anything is sent."""
    prompts.write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_file(str(prompts), limits, None)
    assert "prompts.jsonl has" in str(caught.value)
    assert problem in str(caught.value)


def test_a_line_longer_than_a_batch_is_refused(prompts: Path) -> None:
    """A file without line breaks is given up at the limit."""
    prompts.write_bytes(b"x" * (4 << 20))
    with pytest.raises(InputError, match="longer than 1,000,000 bytes; nothing was sent"):
        check_file(str(prompts), BatchLimits(max_bytes=1_000_000), None)


@pytest.mark.parametrize("name", [pytest.param("no.jsonl", id="missing"), pytest.param(".", id="folder")])
def test_a_missing_file_and_a_folder_are_input_errors(tmp_path: Path, name: str) -> None:
    """The path is named, and that nothing was sent."""
    with pytest.raises(InputError, match="There is no file .*; nothing was sent"):
        check_file(str(tmp_path / name), DEFAULT_LIMITS, None)


def test_a_relative_path_and_a_file_url_are_read(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local files may be written in any way."""
    monkeypatch.chdir(prompts.parent)
    for path in ("prompts.jsonl", f"file://{prompts}"):
        assert check_file(path, DEFAULT_LIMITS, None).found.requests == 3


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "grown": lambda content: content + jsonl([request(99_999)]),
    "shrunk": lambda content: content[: content.rstrip().rfind(b"\n") + 1],
    "emptied": lambda content: b"",
    "same-length": lambda content: content.replace(b"prompt 0", b"prompt X"),
    "same-length-at-the-end": lambda content: content[:-10] + content[-10:].replace(b"}]}", b"] }"),
}


@pytest.mark.parametrize("requests", [pytest.param(3, id="small"), pytest.param(20_000, id="many-chunks")])
@pytest.mark.parametrize("is_clean", [pytest.param(True, id="clean"), pytest.param(False, id="dirty")])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_the_check_is_never_uploaded(
    sandbox: SandboxServer, client: BatchClient, prompts: Path, change: str, is_clean: bool, requests: int
) -> None:
    """Longer, shorter or just different: the upload is broken off, and the service has no file of it."""
    content = jsonl([request(number) for number in range(requests)])
    content = content if is_clean else content.replace(b"\n", b"\r\n")
    prompts.write_bytes(content)
    checked = check_file(str(prompts), client.settings.limits, None)
    changed = CHANGES[change](content)
    assert changed != content
    prompts.write_bytes(changed)
    with pytest.raises(InputError, match=r"prompts\.jsonl changed between the check and the upload"):
        upload_checked(client, checked, None)
    assert sandbox.files() == []


def test_a_file_that_vanishes_after_the_check_is_named(
    sandbox: SandboxServer, client: BatchClient, prompts: Path
) -> None:
    """A file that is gone is an InputError, and no file is made."""
    checked = check_file(str(prompts), client.settings.limits, None)
    prompts.unlink()
    with pytest.raises(InputError, match="There is no file"):
        upload_checked(client, checked, None)
    assert sandbox.files() == []


@pytest.mark.parametrize("is_clean", [pytest.param(True, id="clean"), pytest.param(False, id="dirty")])
@pytest.mark.parametrize(
    ("kind", "options"), [pytest.param("drop", {}, id="dropped"), pytest.param("status", {"status": 503}, id="503")]
)
def test_a_broken_upload_starts_again_from_the_beginning(
    sandbox: SandboxServer, client: BatchClient, prompts: Path, kind: Any, options: dict[str, Any], is_clean: bool
) -> None:
    """The second try sends the whole file again, cleaned again."""
    content = jsonl([request(number) for number in range(20_000)])
    prompts.write_bytes(content if is_clean else BOM + content)
    sandbox.faults.add("POST /files", kind, times=1, **options)
    assert content_of(sandbox, take_in(client, prompts)) == content
    assert sandbox.calls["POST /files"] == 2


@pytest.mark.parametrize("is_clean", [pytest.param(True, id="clean"), pytest.param(False, id="dirty")])
def test_a_large_file_needs_little_memory(client: BatchClient, prompts: Path, is_clean: bool) -> None:
    """Check and upload of 64 MB hold less than 24 MB, in this process with the sandbox in it."""
    end = b"\n" if is_clean else b"\r\n"
    with prompts.open("wb") as file:
        for number in range(8_192):
            file.write(jsonl([request(number, body={"input": "x" * 8_100})]).rstrip() + end)
    assert prompts.stat().st_size > 64 << 20
    tracemalloc.start()
    try:
        take_in(client, prompts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
