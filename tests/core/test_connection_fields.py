from __future__ import annotations

import pytest
from airflow._shared.secrets_masker import should_hide_value_for_key

from airflow_batch_provider.core.connection_fields import BY_NAME, FIELDS, PORTKEY_PREFIX, UNMASKED_ALIASES, conn_fields

# Headers of the gateway that are secrets or may hold one.
SECRET_HEADERS = (
    "api-key virtual-key config azure-ad-token azure-entra-client-secret aws-access-key-id aws-secret-access-key "
    "aws-session-token aws-external-id vertex-service-account-json"
).split()


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.secret])
def test_airflow_masks_every_secret_field(name: str) -> None:
    """Airflow hides an extra by its name, so a secret field without such a name would be shown in clear."""
    assert should_hide_value_for_key(name)


@pytest.mark.parametrize("header", SECRET_HEADERS)
def test_every_secret_header_has_a_secret_field(header: str) -> None:
    """What the gateway's documentation calls secret is secret here."""
    (field,) = (field for field in FIELDS if field.header == PORTKEY_PREFIX + header)

    assert field.secret
    assert should_hide_value_for_key(field.name)


def test_the_secret_fields_are_these() -> None:
    """A new secret field is added to this list on purpose."""
    own = {"proxy", "secret_headers"}
    portkeys = {field.name for field in FIELDS if field.header in {PORTKEY_PREFIX + name for name in SECRET_HEADERS}}

    assert {field.name for field in FIELDS if field.secret} == own | portkeys


def test_names_that_airflow_masks_are_secret_fields() -> None:
    """A masked value that the form shows in clear would confuse everybody."""
    assert [field.name for field in FIELDS if should_hide_value_for_key(field.name) and not field.secret] == []


@pytest.mark.parametrize(("alias", "name"), UNMASKED_ALIASES.items())
def test_aliases_lead_to_masked_fields(alias: str, name: str) -> None:
    """The refused name is one that Airflow would not mask; the proposed one exists and is."""
    assert not should_hide_value_for_key(alias)
    assert alias not in BY_NAME
    assert BY_NAME[name].secret


def test_names_and_headers_are_used_once() -> None:
    """Two fields for one header would overwrite each other."""
    headers = [field.header for field in FIELDS if field.header]

    assert len(BY_NAME) == len(FIELDS)
    assert len(set(headers)) == len(headers)
    assert all(header == header.lower() and header.startswith(PORTKEY_PREFIX) for header in headers)


def test_the_form_shows_secrets_as_dots() -> None:
    """Texts with secrets are password fields, others are not."""
    shown = conn_fields()

    assert shown["secret_headers"]["schema"] == {"type": ["string", "null"], "format": "password"}
    assert shown["ca_bundle"]["schema"] == {"type": ["string", "null"]}
    assert shown["extra_headers"]["schema"] == {"type": ["object", "null"]}
    assert shown["verify_tls"]["schema"] == {"type": ["boolean", "null"], "default": True}
    assert shown["max_retries"]["schema"] == {
        "type": ["integer", "null"], "minimum": 0, "section": "Timeouts and limits"
    }  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_the_help_tells_the_default(name: str) -> None:
    """An empty field's meaning is told where the field is, and every field has a label."""
    spec = BY_NAME[name]
    shown = conn_fields()[spec.name]

    assert shown["label"]
    assert shown["description"].endswith((".", "}", "?"))
    if spec.default is not None and spec.type != "boolean":
        assert f"Default {spec.default:g}" in spec.help or f"Default {spec.default}" in spec.help
