from __future__ import annotations

import importlib.util
import logging
import socket
import threading
from pathlib import Path

import httpx
import pytest

from airflow_batch_provider.sandbox import Durations, SandboxServer
from tests.sandbox.support import FakeClock, ShortClient, rows


def test_the_url_is_the_base_url_of_a_client(server: SandboxServer) -> None:
    """It ends in /v1 and is on this machine only."""
    assert server.url == f"http://127.0.0.1:{server.port}/v1"
    assert repr(server) == f"<SandboxServer [{server.url}]>"
    assert httpx.get(f"{server.url}/files").status_code == 200


def test_a_taken_port_is_an_error() -> None:
    """It is known at once, before anything starts."""
    with SandboxServer() as server, pytest.raises(OSError, match="in use"):
        SandboxServer(server.port)


def test_a_stopped_sandbox_frees_its_port() -> None:
    """The next one can have it."""
    with SandboxServer() as server:
        httpx.get(f"{server.url}/files")
    with SandboxServer(server.port) as again:
        assert httpx.get(f"{again.url}/files").status_code == 200


def test_stopping_cuts_open_requests_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A request in progress ends with its connection, and nothing is logged about it."""
    outcome: list[str] = []
    started = threading.Event()

    def wait_for_answer(url: str) -> None:
        with httpx.Client() as http:
            started.set()
            try:
                http.get(url, timeout=30)
            except httpx.TransportError as error:
                outcome.append(type(error).__name__)

    with SandboxServer() as server:
        server.faults.add("GET /files", "latency", seconds=60)
        thread = threading.Thread(target=wait_for_answer, args=(f"{server.url}/files",))
        thread.start()
        started.wait()
        while not server.calls:
            pass
    thread.join()

    assert outcome[0] in {"RemoteProtocolError", "ReadError"}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_state_is_visible_from_outside(server: SandboxServer, client: ShortClient) -> None:
    """Calls, batches and files, from any thread, with due work done."""
    batch_id = client.submit(rows(2))
    client.clock.advance(100)

    assert server.calls == {"POST /files": 1, "POST /batches": 1}
    assert [(batch["id"], batch["status"]) for batch in server.batches()] == [(batch_id, "completed")]
    assert [file["purpose"] for file in server.files()] == ["batch", "batch_output"]


def test_settings_reach_the_sandbox(tmp_path: Path) -> None:
    """Each keyword is a field of the settings."""
    with SandboxServer(directory=tmp_path, time_scale=2, durations=Durations(validating=6), seed=3) as server:
        assert server.settings.effective_durations.validating == 3
        assert (tmp_path / "files").is_dir()


@pytest.mark.parametrize("available", [True, False])
def test_it_runs_without_httptools(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    """The fast HTTP parser is used when it is there; cut connections work with both."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: find_spec(name) if available or name != "httptools" else None
    )
    with SandboxServer() as server, httpx.Client(base_url=server.url) as http:
        server.faults.add("GET /files", "drop", times=1)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            http.get("/files")
        assert http.get("/files").status_code == 200


def test_an_unusable_directory_is_an_error(tmp_path: Path) -> None:
    """And the port is given back."""
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        SandboxServer(directory=tmp_path / "file")


def test_stopping_ends_work_in_progress(caplog: pytest.LogCaptureFixture) -> None:
    """A sandbox that writes the results of a large batch stops all the same, at once and quietly."""
    durations = Durations(validating=0, running_cap=0, finalizing=0)
    with SandboxServer(durations=durations, patience=0) as server, httpx.Client(base_url=server.url) as http:
        client = ShortClient(http, FakeClock())
        batch_id = client.submit(rows(50_000))
        while client.batch(batch_id)["status"] == "validating":
            pass
        status = client.batch(batch_id)["status"]

    assert status in {"finalizing", "completed"}
    assert server._sandbox._workers._shutdown
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_it_listens_before_it_starts() -> None:
    """The port is its own from the moment it is made; without a start it is given back."""
    server = SandboxServer()
    with socket.create_connection(("127.0.0.1", server.port)):
        pass
    server._socket.close()
    server._sandbox.close()
