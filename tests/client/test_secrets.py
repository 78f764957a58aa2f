"""No secret of a connection leaves the client in any text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import AsyncBatchClient, BatchClient, ServiceSettings
from airflow_batch_provider.core.connection_fields import FIELDS
from airflow_batch_provider.exceptions import BatchError
from tests.client.support import KEY, client_of, gateway, settings

SECRETS: Mapping[str, Any] = {
    field.name: {"x-one": f"value-of-{field.name}"} if field.type == "object" else f"value-of-{field.name}"
    for field in FIELDS
    if field.secret
} | {"proxy": "http://user:value-of-proxy@proxy.test"}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_field_is_wiped(name: str) -> None:
    """Whatever a service echoes, the values of secret fields become asterisks."""
    found = gateway(**{name: SECRETS[name]})
    text = found.redact(f"before value-of-{name} after")

    assert text == "before *** after"
    assert f"value-of-{name}" not in repr(found) + str(found)


def test_no_secret_is_in_any_repr() -> None:
    """Settings and clients can be logged."""
    found = gateway(**SECRETS)
    shown = repr(found) + str(found) + repr(BatchClient(settings())) + repr(AsyncBatchClient(settings()))

    assert KEY not in shown
    assert "value-of-" not in shown
    assert repr(BatchClient(settings())) == "<BatchClient http://service.test/v1>"
    assert repr(AsyncBatchClient(settings())) == "<AsyncBatchClient http://service.test/v1>"


@pytest.mark.parametrize(
    ("extra", "secret"),
    [
        pytest.param(
            {"secret_config": json.dumps({"targets": [{"api_key": "sk-inner-1"}]})}, "sk-inner-1", id="config-text"
        ),
        pytest.param({"secret_config": {"targets": [{"api_key": "sk-inner-1"}]}}, "sk-inner-1", id="config-object"),
        pytest.param({"secret_headers": {"Authorization": "Bearer sk-inner-1"}}, "sk-inner-1", id="bearer-header"),
        pytest.param({"secret_headers": {"x": {"deep": ["sk-inner-1"]}}}, "sk-inner-1", id="nested-header"),
        pytest.param({"proxy": "http://me:hunter2!@proxy.test:1"}, "hunter2!", id="proxy-password"),
        pytest.param(
            {"vertex_service_account_json": {"private_key": "line one\nline two"}}, "line one\nline two", id="key-file"
        ),
    ],
)
def test_secrets_inside_of_values_are_wiped(extra: dict[str, Any], secret: str) -> None:
    """A service may quote only the inner key."""
    assert secret not in gateway(**extra).redact(f"Incorrect API key provided: {secret}.")


def test_the_longest_secret_goes_first() -> None:
    """One secret inside another leaves no rest behind."""
    found = settings(password="secret", extra={"secret_headers": {"x": "secret-and-more"}})

    assert found.redact("a secret-and-more b secret c") == "a *** b *** c"


def test_tiny_values_are_not_wiped() -> None:
    """A key of "any" would make every message unreadable, and is nobody's key."""
    assert settings(password="any").redact("any text, company") == "any text, company"


@pytest.mark.parametrize("echo", [KEY, f"Bearer {KEY}", f"key={KEY}&x", f'"{KEY}"'])
def test_a_service_that_echoes_the_key_does_not_leak_it(echo: str) -> None:
    """Text, attributes, repr and the arguments that are pickled: the key is in none."""

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"message": f"Incorrect API key provided: {echo}", "code": echo}})

    with pytest.raises(BatchError) as caught:
        client_of(refuse)[0].get_batch("b")

    error = caught.value
    assert KEY not in repr(error) + str(error) + repr(vars(error)) + repr(error.args)


def test_settings_compare_by_value() -> None:
    """The hook may keep them as a key."""
    assert settings() == settings()
    assert ServiceSettings() == ServiceSettings()
