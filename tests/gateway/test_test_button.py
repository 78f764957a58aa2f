"""What the connection form's Test button says about gateways: each sentence, as a user reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_batch_provider.client import ServiceSettings
from airflow_batch_provider.client.probe import probe
from airflow_batch_provider.hooks.batch import BatchHook
from airflow_batch_provider.sandbox import SandboxServer
from tests.gateway.support import BODY, KEY, Connect, FakeClock, rows, settings, small_upload
from tests.gateway.upstream import Answer, Upstream
from tests.servers import Server
from tests.servers.process import free_port

Press = Callable[..., tuple[bool, str]]

PROVIDERS = "openai, azure-openai, bedrock, vertex-ai, cohere, azure-ai"
NO_BATCHES = f'It can with {PROVIDERS}; for an OpenAI-shaped service use openai and "Custom host".'
WANTS_PROVIDER = (
    'The gateway answers, but wants to know the provider: fill in "Provider" (for example openai) or "Config".'
)
CONFIG_HINT = (
    "An open-source gateway wants JSON with provider and api_key, or with strategy and targets; ids (pc-...) work only "
    "with hosted Portkey."
)
HOST_HINT = "The custom host usually ends in /v1, and not every OpenAI-shaped server can run batches."


@pytest.fixture
def sandbox(clock: FakeClock) -> Any:
    """Give a sandbox that wants a key."""
    with SandboxServer(clock=clock, api_key=KEY) as server:
        yield server


@pytest.fixture
def press(gateway: Server, sandbox: SandboxServer) -> Press:
    """Give the button: tries a connection to the sandbox behind the gateway, with changes."""

    def press(**changes: Any) -> tuple[bool, str]:
        url = changes.pop("custom_host", sandbox.url)
        works, said = probe(lambda: settings(gateway, url, **changes))
        assert KEY not in said
        return works, said

    return press


def test_it_works(press: Press, connect: Connect, sandbox: SandboxServer) -> None:
    """The sentence says who answered, and shows that it is the right account."""
    assert press() == (True, 'OK: gateway answers, provider "openai" answers, 0 batches visible.')
    client = connect(sandbox.url)
    file_id = client.upload_file(small_upload(rows(1))).id
    client.create_batch({**BODY, "input_file_id": file_id})
    assert press() == (True, 'OK: gateway answers, provider "openai" answers, 1 batch visible.')


def test_it_works_with_a_config(press: Press, sandbox: SandboxServer) -> None:
    """A config that names provider, key and host is enough."""
    config = {"provider": "openai", "api_key": KEY, "custom_host": sandbox.url}
    works, said = press(provider=None, custom_host=None, password=None, secret_config=config)
    assert (works, said) == (True, "OK: gateway answers, the provider of its config answers, 0 batches visible.")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"provider": None}, WANTS_PROVIDER, id="no provider"),
        pytest.param({"provider": None, "custom_host": None}, WANTS_PROVIDER, id="no gateway field at all"),
        pytest.param({"provider": None, "custom_host": None, "secret_config": "{}"}, WANTS_PROVIDER, id="empty config"),
        pytest.param(
            {"provider": "nope"},
            'The gateway answers, but does not know the provider "nope": names are in lower case, for example openai.',
            id="unknown provider",
        ),
        pytest.param(
            {"provider": None, "custom_host": None, "secret_config": "pc-abc"},
            f'The gateway answers, but refuses "Config" (Invalid config passed. You need to pass a valid json). {CONFIG_HINT}',
            id="config id",
        ),
        pytest.param(
            {
                "provider": None,
                "custom_host": None,
                "secret_config": {"provider": "openai", "api_key": KEY, "weight": "x"},
            },
            'The gateway answers, but refuses "Config" (Invalid config passed: weight: Expected number, received string). '
            + CONFIG_HINT,
            id="config against the schema",
        ),
        pytest.param(
            {"custom_host": "http://10.1.2.3/v1"},
            'The gateway answers, but refuses the custom host "http://10.1.2.3/v1". It trusts only localhost and public '
            "names: start it with TRUSTED_CUSTOM_HOSTS=127.0.0.1,<your host>.",
            id="private custom host",
        ),
        pytest.param(
            {"password": "sk-wrong-key"},
            "The service refused the key (401: Incorrect or missing API key. The sandbox was started with another one). "
            "The key is in the connection's password field.",
            id="wrong key",
        ),
        pytest.param(
            {"password": None},
            "The service wants an API key (401: Incorrect or missing API key. The sandbox was started with another one). "
            "Put it into the connection's password field.",
            id="no key",
        ),
        pytest.param(
            {"provider": "groq"},
            f'The gateway answers, but cannot run batches with the provider "groq". {NO_BATCHES}',
            id="provider without batches",
        ),
    ],
)
def test_what_is_wrong_with_the_connection(press: Press, changes: dict[str, Any], sentence: str) -> None:
    """One sentence: who answered, what is wrong, what to do."""
    assert press(**changes) == (False, sentence)


def test_a_service_that_is_down(press: Press) -> None:
    """The address is the one the gateway tried."""
    port = free_port()
    assert press(custom_host=f"http://127.0.0.1:{port}/v1") == (
        False,
        f"The gateway answers, but cannot reach the service behind it (connect ECONNREFUSED 127.0.0.1:{port}). "
        'Check "Custom host"; it is resolved where the gateway runs.',
    )


def test_a_provider_without_batches_that_is_down(press: Press) -> None:
    """That it cannot run batches matters more than that it does not answer."""
    _, said = press(custom_host=f"http://127.0.0.1:{free_port()}/v1", provider="groq")
    assert said == f'The gateway answers, but cannot run batches with the provider "groq". {NO_BATCHES}'


def test_a_gateway_that_is_down(gateway: Server) -> None:
    """A wrong port is told apart from everything behind the gateway."""
    url = f"http://127.0.0.1:{free_port()}"
    extra = {"provider": "openai"}
    assert probe(lambda: ServiceSettings.from_parts(host=url, password=KEY, extra=extra)) == (
        False,
        f"{url} does not answer (connection refused). Is the gateway running? In a container, localhost is the container.",
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            Answer(200, b"<html>Welcome to nginx!</html>", "text/html"),
            "{gateway} answered the call for the list of batches with something that is not JSON (text, wrapped by the "
            "gateway). Is the custom host that of the API? " + HOST_HINT,
            id="web page",
        ),
        pytest.param(
            Answer.of({"hello": "world"}),
            "{gateway} answered the call for the list of batches with JSON that does not fit: The service's answer is "
            "not a list. " + HOST_HINT,
            id="other JSON",
        ),
        pytest.param(
            Answer(404, b"<html><h1>404 Not Found</h1>nginx</html>", "text/html"),
            "The gateway answers, but the service behind it has no batches at {upstream}/batches (404: 404 Not Found "
            "nginx). " + HOST_HINT,
            id="web page not found",
        ),
        pytest.param(
            Answer.refusal(404, "Unknown route."),
            "The gateway answers, but the service behind it has no batches at {upstream}/batches (404: Unknown route). "
            + HOST_HINT,
            id="API without batches",
        ),
        pytest.param(
            Answer(200, b"OK"),
            "The gateway could not handle the list of batches (500: Something went wrong). It gives no reason; the usual "
            "ones: the service behind it answered with something that is not JSON, or the provider cannot run batches.",
            id="neither page nor JSON",
        ),
    ],
)
def test_a_host_that_is_not_an_api(
    press: Press, gateway: Server, upstream: Upstream, answer: Answer, words: str
) -> None:
    """The sentence points to the host behind the gateway, not to the gateway."""
    upstream.on("GET /batches", answer)
    assert press(custom_host=upstream.url) == (False, words.format(gateway=gateway.url, upstream=upstream.url))


def test_a_path_that_the_gateway_does_not_have(gateway: Server, sandbox: SandboxServer) -> None:
    """Here the base URL is wrong, not the custom host."""
    host = gateway.url.removesuffix("/v1")
    extra = {"provider": "openai", "custom_host": sandbox.url}
    assert probe(lambda: ServiceSettings.from_parts(host=f"{host}/api", password=KEY, extra=extra)) == (
        False,
        f"{host} answers, but has no batches at {host}/api/batches (404: Not Found). The base URL usually ends in /v1, "
        "and not every OpenAI-shaped server can run batches.",
    )


def test_the_hook_says_the_same(gateway: Server, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's button ends in the same sentences, from a connection as Airflow stores it."""
    connection = {
        "conn_type": "batch",
        "host": gateway.url,
        "password": KEY,
        "extra": {"provider": "openai", "custom_host": sandbox.url},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BEHIND_GATEWAY", json.dumps(connection))
    works = BatchHook("behind_gateway").test_connection()
    assert works == (True, 'OK: gateway answers, provider "openai" answers, 0 batches visible.')
    monkeypatch.setenv("AIRFLOW_CONN_BEHIND_GATEWAY", json.dumps({**connection, "extra": {}}))
    assert BatchHook("behind_gateway").test_connection() == (False, WANTS_PROVIDER)
