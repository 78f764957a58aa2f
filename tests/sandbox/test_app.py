from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from airflow_batch_provider.sandbox import SandboxServer, Settings, create_app
from tests.sandbox.support import FakeClock, ShortClient, rows


def test_every_answer_has_a_request_id(client: ShortClient) -> None:
    """Errors too."""
    answers = [client.http.get(path) for path in ("/files", "/files/nope", "/nope")]

    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/models", 404), ("PUT", "/files", 405)])
def test_unknown_routes_have_openais_envelope(client: ShortClient, method: str, path: str, status: int) -> None:
    """As OpenAI says it."""
    answer = client.http.request(method, path)

    assert (answer.status_code, answer.json()["error"]["message"]) == (status, f"Invalid URL ({method} /v1{path})")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}])
def test_a_key_is_asked_for_when_set(headers: dict[str, str]) -> None:
    """Without the right one nothing below /v1 is answered, and the wrong one is never repeated."""
    with SandboxServer(api_key="secret") as server:
        answer = httpx.get(f"{server.url}/files", headers=headers)

        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "wrong" not in answer.text
        assert httpx.get(f"{server.url}/files", headers={"authorization": "Bearer secret"}).status_code == 200
        assert httpx.get(server.url.removesuffix("v1")).status_code == 200


def test_latency_is_for_the_api(clock: FakeClock) -> None:
    """Every request below /v1 waits, the greeting does not."""
    with SandboxServer(latency=0.05) as server:
        assert httpx.get(f"{server.url}/files").elapsed.total_seconds() >= 0.05


def test_it_works_without_a_server(clock: FakeClock) -> None:
    """The application can be called directly."""

    async def call() -> int:
        app = create_app(Settings(clock=clock))
        transport = httpx.ASGITransport(app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://sandbox/v1") as http:
                made = await http.post("/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", rows(1))})
                content = await http.get(f"/files/{made.json()['id']}/content")
                assert repr(app) == "<Sandbox [1 files, 0 batches]>"
                return len(content.content)
        finally:
            app.close()

    assert asyncio.run(call()) == len(rows(1))


def test_a_temporary_directory_is_removed() -> None:
    """Closing leaves nothing behind."""
    app = create_app()
    folder = Path(app._temporary.name) if app._temporary else Path("/nowhere")
    assert folder.is_dir()

    app.close()

    assert not folder.exists()


def test_requests_can_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per request on stderr: method, path, status, time."""
    with SandboxServer(log=True) as server:
        httpx.get(f"{server.url}/files")

    assert capsys.readouterr().err.startswith("GET /v1/files 200 ")
