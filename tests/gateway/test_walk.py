"""A batch's whole life through the gateway, with the sandbox behind it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from pathlib import Path

import pytest

from airflow_batch_provider.client import AsyncBatchClient
from airflow_batch_provider.collection import collect_results, delete_files
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiStatusError, BatchFailedError, NotFoundError
from airflow_batch_provider.sandbox import Limits, SandboxServer
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
from tests.servers import Server


def test_a_clean_batch_brings_back_every_row(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, tmp_path: Path
) -> None:
    """Upload, create, wait, collect and delete: all rows right, no error file, nothing left at the service."""
    client = connect(sandbox.url)
    file_id = upload_path(client, tmp_path / "in.jsonl", rows(30))
    created = client.create_batch({**BODY, "input_file_id": file_id, "metadata": {"team": "Zürich", "n": "1"}})
    assert created.status is BatchStatus.VALIDATING
    assert created.metadata == {"team": "Zürich", "n": "1"}

    batch = wait(client, created.id, clock)
    result = collect_results(client, batch, str(tmp_path / "out"))
    assert result["status"] == "completed"
    assert result["errors"] is None
    assert result["output"]["rows"] == 30
    answers = {
        name: row["response"]["body"]["choices"][0]["message"]["content"]
        for name, row in read_rows(result["output"]["path"]).items()
    }
    assert answers == {f"row-{index}": f"hello {index}" for index in range(30)}

    assert set(delete_files(client, batch.file_ids)) == set(batch.file_ids)
    assert sandbox.files() == []


@pytest.mark.parametrize(
    ("directives", "status", "succeeded", "failed"),
    [
        pytest.param("fail_rows=0.25", "completed", 15, 5, id="some rows failed"),
        pytest.param("fail_rows=1", "completed", 0, 20, id="all rows failed"),
        pytest.param("expire_after=0.5", "expired", 10, 10, id="expired half way"),
        pytest.param("cancel_after=0.5", "cancelled", 10, 10, id="cancelled by the service"),
        pytest.param("zero_byte_error_file=true", "completed", 20, 0, id="error file of no bytes"),
        pytest.param("empty_error_id=true", "completed", 20, 0, id="empty error id"),
        pytest.param("content_type=text/plain", "completed", 20, 0, id="result files of type text"),
    ],
)
def test_every_row_is_in_one_of_the_two_files(
    connect: Connect,
    sandbox: SandboxServer,
    clock: FakeClock,
    tmp_path: Path,
    directives: str,
    status: str,
    succeeded: int,
    failed: int,
) -> None:
    """However a batch ends, what was paid for is collected and what failed is named."""
    client = connect(sandbox.url)
    file_id = upload_path(client, tmp_path / "in.jsonl", rows(20))
    created = client.create_batch({**BODY, "input_file_id": file_id, "metadata": {"sandbox": directives}})
    result = collect_results(client, wait(client, created.id, clock), str(tmp_path / "out"))
    assert result["status"] == status
    good = read_rows(result["output"]["path"]) if result["output"] else {}
    bad = read_rows(result["errors"]["path"]) if result["errors"] else {}
    assert (len(good), len(bad)) == (succeeded, failed)
    assert good.keys() | bad.keys() == {f"row-{index}" for index in range(20)}


def test_a_refused_input_is_named_with_its_lines(
    connect: Connect, sandbox: SandboxServer, clock: FakeClock, tmp_path: Path
) -> None:
    """What the service found in its validation reaches the reader through the gateway."""
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload(rows(2) + b'{"custom_id": "x"}\n')).id
    created = client.create_batch({**BODY, "input_file_id": file_id})
    batch = wait(client, created.id, clock)
    assert batch.status is BatchStatus.FAILED
    assert batch.problems[0].line == 3
    with pytest.raises(BatchFailedError, match=r"line 3.*Nothing ran and nothing is billed") as raised:
        collect_results(client, batch, str(tmp_path))
    assert not raised.value.retryable


def test_a_large_file_goes_up_and_down_unchanged(connect: Connect, sandbox: SandboxServer, tmp_path: Path) -> None:
    """20 MB of hard-to-compress text with characters of all widths: the same bytes arrive, in both directions."""
    dice = random.Random(11)
    letters = 'abc é € 𝄞 \\ " \u2028 {}[]'
    content = b"".join(
        json.dumps(
            {"custom_id": f"row-{n}", "t": dice.randbytes(700).hex() + "".join(dice.choices(letters, k=99))},
            ensure_ascii=False,
        ).encode()
        + b"\n"
        for n in range(12_800)
    )
    assert len(content) > 20_000_000
    client = connect(sandbox.url)
    file = client.upload_file(small_upload(content))
    assert file.bytes == len(content)
    assert download(client, file.id, tmp_path / "back.jsonl", len(content)) == len(content)
    assert hashlib.sha256((tmp_path / "back.jsonl").read_bytes()).digest() == hashlib.sha256(content).digest()


def test_a_file_that_is_too_large_is_refused_by_name(connect: Connect, gateway: Server) -> None:
    """The service's 413, given while the file is still arriving, is what the user reads."""
    with SandboxServer(limits=Limits(max_file_bytes=100_000)) as sandbox:
        with pytest.raises(ApiStatusError) as raised:
            connect(sandbox.url).upload_file(small_upload(b"x" * 1_000_000))
        assert raised.value.status_code == 413
        assert not raised.value.retryable
        assert sandbox.files() == []


def test_lists_are_read_page_by_page_to_their_end(connect: Connect, sandbox: SandboxServer) -> None:
    """``after`` and ``limit`` pass the gateway: every batch and every file comes once, in the service's order."""
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload(rows(1))).id
    made = [client.create_batch({**BODY, "input_file_id": file_id, "metadata": {"n": str(n)}}).id for n in range(7)]
    assert {batch.id for batch in client.list_batches(page_size=3)} == set(made)
    assert len(list(client.list_batches(page_size=3))) == 7
    assert sandbox.calls["GET /batches"] == 6
    others = [client.upload_file(small_upload(rows(2))).id for _ in range(4)]
    assert sorted(file.id for file in client.list_files(purpose="batch", page_size=2)) == sorted([file_id, *others])


def test_a_running_batch_is_cancelled(connect: Connect, sandbox: SandboxServer, clock: FakeClock) -> None:
    """Cancelling answers with the batch, and the wait that follows ends."""
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload(rows(5))).id
    created = client.create_batch({**BODY, "input_file_id": file_id, "metadata": {"sandbox": "stall=true"}})
    clock.sleep(60)
    assert client.get_batch(created.id).status is BatchStatus.IN_PROGRESS
    assert client.cancel_batch(created.id).status is BatchStatus.CANCELLING
    assert wait(client, created.id, clock).status is BatchStatus.CANCELLED


def test_a_deleted_file_is_gone(connect: Connect, sandbox: SandboxServer) -> None:
    """Deleting says so; asking for the file afterwards is a 404, and deleting it again counts as done."""
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload()).id
    assert client.delete_file(file_id)
    with pytest.raises(NotFoundError, match=file_id):
        client.get_file(file_id)
    assert delete_files(client, [file_id]) == [file_id]


def test_a_trigger_asks_lists_and_cancels(
    gateway: Server, connect: Connect, sandbox: SandboxServer, clock: FakeClock
) -> None:
    """The asynchronous client gets the same answers through the gateway as the blocking one."""
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload(rows(5))).id
    created = client.create_batch({**BODY, "input_file_id": file_id, "metadata": {"sandbox": "stall=true"}})
    clock.sleep(60)

    async def look() -> None:
        async with AsyncBatchClient(settings(gateway, sandbox.url)) as trigger:
            assert await trigger.get_batch(created.id) == client.get_batch(created.id)
            assert (await trigger.list_batch_page()).items == client.list_batch_page().items
            assert (await trigger.cancel_batch(created.id)).status is BatchStatus.CANCELLING
            with pytest.raises(NotFoundError):
                await trigger.get_batch("batch_unknown")

    asyncio.run(look())
