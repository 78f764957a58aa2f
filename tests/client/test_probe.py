"""The sentences of the Test button, against real local servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.client.probe import probe
from airflow_batch_provider.sandbox import SandboxServer
from tests.client.support import KEY, upload_of
from tests.core.support import line


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(time_scale=50, seed=1) as running:
        yield running


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.faults.clear()


def ask(host: str, extra: dict[str, Any] | None = None, password: str | None = KEY) -> tuple[bool, str]:
    return probe(lambda: ServiceSettings.from_parts(host=host, password=password, extra=extra))


def refuse(server: SandboxServer, status: int, body: Any) -> None:
    server.faults.add("GET /batches", "status", status=status, body=body)


def test_a_service_that_answers(server: SandboxServer) -> None:
    """Which host, and how many batches the key sees."""
    assert ask(server.url) == (True, f"OK: {server.host}:{server.port} answers, 0 batches visible.")


def test_a_gateway_that_answers(server: SandboxServer) -> None:
    """Gateway and provider both answer; with a config the provider is in there."""
    extra = {"provider": "openai", "custom_host": "http://127.0.0.1:8000/v1"}

    assert ask(server.url, extra) == (True, 'OK: gateway answers, provider "openai" answers, 0 batches visible.')
    assert ask(server.url, {"secret_config": "pc-1"})[1].startswith("OK: gateway answers, the provider of its config")


def test_batches_are_counted() -> None:
    """One batch, several, or a page full."""
    with SandboxServer(seed=1) as server, BatchClient(ServiceSettings(base_url=server.url)) as client:
        file = client.upload_file(upload_of(line()))
        texts = {}
        for number in range(1, 102):
            client.create_batch(
                {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            )
            texts[number] = ask(server.url)[1] if number in (1, 2, 101) else ""

    assert texts[1].endswith("1 batch visible.")
    assert texts[2].endswith("2 batches visible.")
    assert texts[101].endswith("100 or more batches visible.")


def test_nobody_listens() -> None:
    """A refused connection asks whether the gateway runs, and reminds of containers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for host in ("localhost", "127.0.0.1"):
            assert ask(f"http://{host}:{port}/v1") == (
                False,
                f"http://{host}:{port} does not answer (connection refused). Is the gateway running? In a container, "
                "localhost is the container.",
            )


def test_a_host_that_does_not_exist() -> None:
    """Elsewhere the question is the base URL."""
    works, text = ask("http://no-such-host.invalid/v1")

    assert not works
    assert text == "http://no-such-host.invalid does not answer (unknown host name). Is the base URL right?"


def test_a_wrong_key(server: SandboxServer) -> None:
    """The service's own words, and where the key is."""
    refuse(server, 401, {"error": {"message": "Incorrect API key provided"}})

    assert ask(server.url) == (
        False,
        "The service refused the key (401: Incorrect API key provided). The key is in the connection's password field.",
    )
    assert "The service wants an API key" in ask(server.url, password=None)[1]


@pytest.mark.parametrize(
    ("status", "message", "extra", "text"),
    [
        pytest.param(
            400,
            "Either x-portkey-config or x-portkey-provider header is required",
            None,
            'The gateway answers, but wants to know the provider: fill in "Provider" (for example openai) or "Config".',
            id="provider-missing",
        ),
        pytest.param(
            400,
            "Invalid provider passed",
            {"provider": "OpenAI"},
            'does not know the provider "OpenAI": names are in lower case, for example openai.',
            id="provider-in-capitals",
        ),
        pytest.param(
            400,
            "Invalid custom host",
            {"provider": "openai", "custom_host": "http://10.1.2.3/v1"},
            'refuses the custom host "http://10.1.2.3/v1". It trusts only localhost and public names: start it with '
            "TRUSTED_CUSTOM_HOSTS",
            id="custom-host-not-trusted",
        ),
        pytest.param(
            400,
            "Invalid config passed. You need to pass a valid json",
            {"secret_config": "pc-1"},
            "ids (pc-...) work only with hosted Portkey",
            id="config-id",
        ),
        pytest.param(
            500,
            "createBatch is not supported by groq",
            {"provider": "groq"},
            'cannot run batches with the provider "groq". It can with openai, azure-openai',
            id="provider-without-batches",
        ),
    ],
)
def test_a_gateway_that_refuses(
    server: SandboxServer, status: int, message: str, extra: dict[str, Any] | None, text: str
) -> None:
    """Each of the gateway's sentences leads to the field that is wrong."""
    refuse(server, status, {"status": "failure", "message": message})
    works, said = ask(server.url, extra)

    assert not works
    assert text in said


def test_a_gateway_that_cannot_reach_the_service(server: SandboxServer) -> None:
    """The custom host is looked up where the gateway runs."""
    refuse(
        server, 500, {"html-message": "Message: fetch failed Cause: Error: connect ECONNREFUSED ::1:9 Name: TypeError"}
    )
    works, text = ask(server.url, {"provider": "openai", "custom_host": "http://localhost:9/v1"})

    assert not works
    assert "The gateway answers, but cannot reach the service behind it" in text
    assert "ECONNREFUSED" in text
    assert 'Check "Custom host"' in text


def test_a_provider_without_batches_may_answer_anything(server: SandboxServer) -> None:
    """The gateway asks its base URL, so a 404 of someone else comes back."""
    refuse(server, 404, {"error": {"message": "Unknown request URL"}})

    assert 'cannot run batches with the provider "groq"' in ask(server.url, {"provider": "groq"})[1]


def test_a_wrong_path(server: SandboxServer) -> None:
    """Something answers there, but it has no batches."""
    works, text = ask(server.url.removesuffix("/v1") + "/nothing/here")

    assert not works
    assert "/nothing/here/batches (404" in text
    assert "ends in /v1" in text


def test_a_wrong_path_behind_the_gateway(server: SandboxServer) -> None:
    """Then the custom host is the field to look at, unless the gateway itself does not know the route."""
    extra = {"provider": "openai", "custom_host": "http://127.0.0.1:8000/llm"}
    refuse(server, 404, {"error": {"message": "no such page"}, "provider": "openai"})
    text = ask(server.url, extra)[1]
    assert "The gateway answers, but the service behind it has no batches at http://127.0.0.1:8000/llm/batches" in text
    assert "The custom host usually ends in /v1" in text

    server.faults.clear()
    refuse(server, 404, {"message": "Not Found", "ok": False})
    assert "The base URL usually ends in /v1" in ask(server.url, extra)[1]


def test_a_page_instead_of_an_api(server: SandboxServer) -> None:
    """A login page answers 200 and HTML."""
    server.faults.add("GET /batches", "html", status=200)
    works, text = ask(server.url)

    assert not works
    assert "something that is not JSON (text/html" in text
    assert "base URL" in text


def test_a_wrong_connection_is_explained() -> None:
    """What cannot be built is not tried."""
    assert "Did you mean" in ask("http://localhost:1/v1", {"provder": "x"})[1]
    assert '"proxy"' in ask("http://localhost:1/v1", {"proxy": "nonsense"})[1]
    assert "Check the connection's URL" in ask("http://two..dots.test/v1")[1]


def test_the_button_does_not_wait_for_retries(server: SandboxServer) -> None:
    """A person is looking: one call, whatever the connection's retries are."""
    server.calls.clear()
    server.faults.add("GET /batches", "status", status=503)
    works, text = ask(server.url, {"max_retries": 9})

    assert not works
    assert "503" in text
    assert server.calls["GET /batches"] == 1
