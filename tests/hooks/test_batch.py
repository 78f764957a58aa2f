"""The hook: a connection as a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pendulum import DateTime

from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.hooks.batch import BatchHook, open_hook
from airflow_batch_provider.sandbox import SandboxServer
from tests.dags import connection
from tests.samples import ENDPOINT, create_batch, jsonl, request
from tests.waits import ended


@pytest.fixture
def hook(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchHook]:
    """Give a hook on a fresh service."""
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection(sandbox.url))
    with open_hook("batch_default") as opened:
        yield opened


def test_files_and_batches_through_the_hook(hook: BatchHook, tmp_path: Path) -> None:
    """Upload, ask, list, create, download, cancel and delete work as methods of the hook."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl([request(n) for n in range(5)]))

    file = hook.upload_file(path)
    batch = hook.create_batch(file.id, ENDPOINT, metadata={"team": "search"})
    done = ended(hook.get_conn(), batch)
    size = hook.download_file(str(done.output_file_id), tmp_path / "out" / "rows.jsonl")

    assert hook.get_file(file.id).bytes == path.stat().st_size
    assert {each.id for each in hook.list_files()} == {file.id, done.output_file_id}
    assert [each.id for each in hook.list_files(purpose="batch")] == [file.id]
    assert [each.id for each in hook.list_batches()] == [batch.id]
    assert (tmp_path / "out" / "rows.jsonl").stat().st_size == size
    assert hook.get_batch(batch.id).metadata == {"team": "search"}
    assert hook.delete_file(file.id) is True
    running = create_batch(hook.get_conn(), sandbox="stall=true")
    assert hook.cancel_batch(running.id).status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED)


def test_times_are_utc_and_unknown_fields_are_kept(hook: BatchHook) -> None:
    """Public values carry pendulum times in UTC, and what this package does not name stays in ``extra``."""
    batch = create_batch(hook.get_conn())

    assert isinstance(batch.created_at, DateTime)
    assert batch.created_at.timezone_name == "UTC"
    assert batch.extra["completion_window"] == "24h"
    json.dumps(batch.to_dict())


def test_async_connection_speaks_the_same_verbs(hook: BatchHook) -> None:
    """A trigger's client asks, lists and cancels like the hook."""
    batch = create_batch(hook.get_conn(), sandbox="stall=true")

    async def use() -> tuple[str, str, BatchStatus]:
        async with await hook.get_async_conn() as client:
            page = await client.list_batch_page()
            return (
                (await client.get_batch(batch.id)).id,
                page.items[0].id,
                (await client.cancel_batch(batch.id)).status,
            )

    got, listed, status = asyncio.run(use())

    assert got == listed == batch.id
    assert status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("batch://:sk-test-key-1234@{netloc}/v1", id="uri"),
        pytest.param("batch://:sk-test-key-1234@{netloc}/v1?max_retries=2&verify_tls=false", id="uri-with-extras"),
        pytest.param("batch://:sk-test-key-1234@{quoted}", id="uri-with-url-as-host"),
        pytest.param('{{"conn_type":"batch","host":"http://{netloc}","password":"sk-test-key-1234"}}', id="json"),
    ],
)
def test_uri_and_json_connections_work_alike(
    text: str, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the connection is written, the same service is reached with the same key."""
    netloc = f"{sandbox.host}:{sandbox.port}"
    quoted = f"http%3A%2F%2F{sandbox.host}%3A{sandbox.port}%2Fv1"
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", text.format(netloc=netloc, quoted=quoted))

    settings = BatchHook().get_settings()

    assert settings.base_url == sandbox.url
    assert settings.headers["Authorization"] == "Bearer sk-test-key-1234"
    with open_hook("batch_default") as opened:
        assert list(opened.list_batches()) == []


def test_test_button(hook: BatchHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Test button says what it sees, and what is wrong with the connection itself."""
    assert hook.test_connection() == (
        True,
        "OK: " + hook.get_settings().base_url[7:-3] + " answers, 0 batches visible.",
    )
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection("http://127.0.0.1:1", provder="openai"))
    assert BatchHook().test_connection() == (
        False,
        'The connection has an unknown extra field "provder". Did you mean "provider"?',
    )
    monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", connection("http://127.0.0.1:1"))
    works, text = BatchHook().test_connection()
    assert not works
    assert text == (
        "http://127.0.0.1:1 does not answer (connection refused). Is the gateway running? "
        "In a container, localhost is the container."
    )


def test_hook_shows_no_secrets(hook: BatchHook) -> None:
    """Neither the hook nor its client or settings show the key when printed."""
    shown = f"{hook!r} {hook.get_conn()!r} {hook.get_settings()!r}"

    assert "sk-test-key" not in shown


def test_block_closes_the_connections(hook: BatchHook) -> None:
    """A hook opened in a block leaves no open connections behind, also after an error."""
    clients = []

    def fail_inside() -> None:
        with open_hook("batch_default") as opened:
            clients.append(opened.get_conn())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    with pytest.raises(RuntimeError, match="closed"):
        clients[0].get_batch("batch_1")
