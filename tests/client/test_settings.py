from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.client.settings import OPENAI_CONSOLE_URL, ServiceSettings
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import ConfigurationError
from tests.client.support import KEY, URL, gateway, settings


def parts(extra: dict[str, Any] | None = None, **others: Any) -> ServiceSettings:
    return ServiceSettings.from_parts(extra=extra, **others)


def refusal(extra: dict[str, Any] | None = None, **others: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parts(extra, **({"host": URL} | others))
    return str(caught.value)


def test_without_a_host_it_is_openai() -> None:
    """Empty base URL: OpenAI itself, no gateway headers, with OpenAI's console for the link."""
    found = parts(password=KEY)

    assert found.base_url == "https://api.openai.com/v1"
    assert found.headers == {"Authorization": f"Bearer {KEY}"}
    assert not found.is_gateway
    assert found.console_url == OPENAI_CONSOLE_URL


def test_host_and_provider_are_a_gateway() -> None:
    """The gateway's headers are sent, the key as the provider's."""
    found = parts(
        {"provider": "openai", "custom_host": "http://127.0.0.1:8000/v1/"},
        host="http://localhost:8787/v1",
        password=KEY,
    )

    assert found.is_gateway
    assert found.headers == {
        "Authorization": f"Bearer {KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": "http://127.0.0.1:8000/v1",
    }
    assert found.console_url is None


def test_a_config_makes_a_gateway_too() -> None:
    """As JSON text, as an object, or as the id that hosted Portkey knows."""
    for config in ('{"provider": "openai"}', {"provider": "openai"}):
        assert gateway(secret_config=config).headers["x-portkey-config"] == '{"provider": "openai"}'
    assert parts({"secret_config": "pc-1"}, host=URL).is_gateway


def test_a_host_alone_is_any_service() -> None:
    """No gateway headers, no key when there is none."""
    found = parts(host=URL)

    assert not found.is_gateway
    assert found.headers == {}
    assert not found.has_key
    assert settings().has_key


@pytest.mark.parametrize("host", [None, "", "  "])
def test_gateway_fields_without_a_gateway_are_refused(host: str | None) -> None:
    """Otherwise OpenAI would get the gateway's headers, with its secrets."""
    text = refusal({"secret_config": '{"api_key": "hunter22"}'}, host=host)

    assert "its base URL is empty, which means OpenAI itself" in text
    assert "hunter22" not in text


def test_openais_own_headers_make_no_gateway() -> None:
    """Organization and project go to OpenAI under OpenAI's names, and through a gateway under the gateway's."""
    extra = {"openai_organization": "org-1", "openai_project": "proj-1"}

    assert parts(extra).headers == {"openai-organization": "org-1", "openai-project": "proj-1"}
    assert gateway(**extra).headers["x-portkey-openai-organization"] == "org-1"


@pytest.mark.parametrize(
    ("provider", "where"),
    [
        ("openai", "files"),
        ("azure-openai", "files"),
        ("bedrock", "output"),
        ("vertex-ai", "output"),
        ("cohere", "output"),
    ],
)
def test_only_some_providers_use_the_output_route(provider: str, where: str) -> None:
    """For openai it would send the key to the public service, custom host or not."""
    assert parts({"provider": provider}, host=URL).results_from == where


def test_a_uri_knows_only_strings() -> None:
    """Numbers, booleans and objects as text are read as what the field is."""
    found = parts(
        {
            "timeout": "7.5",
            "max_retries": "0",
            "verify_tls": "False",
            "check_file_sizes": "off",
            "max_batch_requests": "10",
            "max_batch_bytes": 1e6,
            "extra_headers": '{"x-team": "search"}',
            "provider": " openai ",
            "metadata": '{"a": 1}',
            "request_timeout_ms": "5000",
            "console_url": "https://console.test/{batch_id}",
            "proxy": "http://proxy.test:3128",
            "__extra__": "ignored",
            "ca_bundle": "",
            "connect_timeout": None,
            "secret_headers": {},
        },
        host="localhost",
        port=8787,
        schema="v1",
    )

    assert found.base_url == "http://localhost:8787/v1"
    assert (found.timeout, found.max_retries, found.connect_timeout) == (7.5, 0, 10.0)
    assert (found.verify, found.check_file_sizes, found.ca_bundle) == (False, False, None)
    assert found.limits == BatchLimits(10, 1_000_000)
    assert found.console_url == "https://console.test/{batch_id}"
    assert found.proxy == "http://proxy.test:3128"
    assert found.headers == {
        "x-team": "search",
        "x-portkey-provider": "openai",
        "x-portkey-metadata": '{"a": 1}',
        "x-portkey-request-timeout": "5000",
    }


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", " On ", True, 1])
def test_words_for_yes(word: Any) -> None:
    """Booleans as people and URIs write them."""
    assert parts({"verify_tls": word}, host=URL).verify is True


def test_blank_fields_are_empty() -> None:
    """A field with a blank in it is as empty as it looks."""
    assert not parts({"provider": "  "}, host=URL).is_gateway


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        pytest.param({"verify_tls": "maybe"}, '"verify_tls" is not a valid boolean', id="boolean"),
        pytest.param({"max_retries": "many"}, '"max_retries" is not a valid integer', id="integer"),
        pytest.param({"max_retries": 2.5}, '"max_retries" is not a valid integer', id="fraction"),
        pytest.param({"max_retries": True}, '"max_retries" is not a valid integer', id="boolean-for-integer"),
        pytest.param({"max_retries": float("inf")}, '"max_retries" is not a valid integer', id="infinite-integer"),
        pytest.param({"max_retries": -1}, '"max_retries" must be at least 0', id="negative"),
        pytest.param({"timeout": "soon"}, '"timeout" is not a valid number', id="number"),
        pytest.param({"timeout": "nan"}, '"timeout" is not a valid number', id="nan"),
        pytest.param({"timeout": "inf"}, '"timeout" is not a valid number', id="inf"),
        pytest.param({"timeout": True}, '"timeout" is not a valid number', id="boolean-for-number"),
        pytest.param({"timeout": 0}, '"timeout" must be at least 1', id="zero"),
        pytest.param({"connect_timeout": 0.01}, '"connect_timeout" must be at least 0.1', id="fraction-too-small"),
        pytest.param({"extra_headers": "x"}, '"extra_headers" is not a valid object', id="object-not-json"),
        pytest.param({"extra_headers": [1]}, '"extra_headers" is not a valid object', id="object-is-a-list"),
        pytest.param({"metadata": "[" * 99_999}, '"metadata" is not a valid object', id="object-too-deep"),
        pytest.param({"provder": "openai"}, 'unknown extra field "provder". Did you mean "provider"?', id="typo"),
        pytest.param({"zzz": 1}, 'unknown extra field "zzz".', id="unknown"),
        pytest.param(
            {"config": "{}x"},
            'may hold a secret, but Airflow would show it in clear. Call it "secret_config"',
            id="config",
        ),
        pytest.param({"virtual_key": "x"}, 'Call it "secret_virtual_key"', id="virtual-key"),
        pytest.param({"aws_external_id": "x"}, 'Call it "secret_aws_external_id"', id="external-id"),
        pytest.param({"headers": {"a": "b"}}, 'Call it "secret_headers"', id="headers"),
        pytest.param({"trace_id": "a\nb"}, 'The connection\'s "trace_id" contains a line break', id="line-break"),
        pytest.param({"trace_id": "ä"}, 'The connection\'s "trace_id" contains', id="not-ascii"),
        pytest.param({"secret_headers": {"a": "b\r\nc: d"}}, '"secret_headers" contains a line break', id="injection"),
        pytest.param({"extra_headers": {"a\n": "b", "c\nd": "e"}}, '"extra_headers" contains a line break', id="name"),
    ],
)
def test_every_wrong_value_names_its_field(extra: dict[str, Any], text: str) -> None:
    """The person finds the field; the value itself is not repeated."""
    assert text in refusal(extra)


def test_a_key_with_something_around_it_is_refused() -> None:
    """A line break at the end is harmless, one in the middle is a copying mistake."""
    assert settings(password=f"{KEY}\n").headers["Authorization"] == f"Bearer {KEY}"
    text = refusal(password=f"{KEY}\nAPI key")
    assert '"password" contains a line break' in text
    assert KEY not in text


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Proxy-Authorization", "api-key", "X-Api-Key", "X-Auth-Token", "Cookie", "x-secret", "x-password",
        "x-signature", "x-portkey-config", "X-Portkey-Vertex-Service-Account-JSON", "x-portkey-aws-external-id",
        "x-portkey-virtual-key", "x-credentials",
    ],
)  # fmt: skip
def test_secrets_in_the_clear_headers_are_refused(name: str) -> None:
    """Extra headers are shown in clear, so names that hold keys are sent to the masked field."""
    text = refusal({"extra_headers": {name: "hunter22"}})

    assert f'"extra_headers" has "{name}"' in text
    assert 'Move it to "secret_headers"' in text
    assert "hunter22" not in text


def test_ordinary_extra_headers_pass() -> None:
    """Both header fields are sent; the secret one wins."""
    found = parts({"extra_headers": {"x-team": "a", "x-n": 5}, "secret_headers": {"api-key": "s" * 8}}, host=URL)

    assert found.headers == {"x-team": "a", "x-n": "5", "api-key": "s" * 8}
