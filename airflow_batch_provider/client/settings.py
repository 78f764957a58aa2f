"""A connection's values, checked, as what the client needs. Knows no Airflow: it is handed the plain parts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_batch_provider.client.extras import clean, parse_extra
from airflow_batch_provider.client.urls import OPENAI_URL, base_url
from airflow_batch_provider.core.connection_fields import BY_NAME, PORTKEY_PREFIX, Field
from airflow_batch_provider.core.limits import DEFAULT_LIMITS, BatchLimits, limits_of
from airflow_batch_provider.exceptions import ConfigurationError

OPENAI_CONSOLE_URL = "https://platform.openai.com/batches/{batch_id}"
SENSITIVE_WORDS = (
    *("authorization", "key", "token", "secret", "cookie", "password", "signature", "credential", "passphrase"),
    # Names of a gateway's headers that hold keys without saying so.
    *("portkey-config", "service-account", "external-id"),
)

_URL_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*?:([^/]+)@")

# Services whose finished rows are only (bedrock) or best (vertex-ai, cohere) had from GET /batches/{id}/output. Never
# for openai and azure-openai: there the gateway's /output ignores the custom host and sends the key to the public
# service (Portkey gateway 1.15.2).
OUTPUT_ROUTE_PROVIDERS = frozenset({"bedrock", "vertex-ai", "cohere"})


@dataclass(frozen=True)
class ServiceSettings:
    """
    How to reach one service.

    :param base_url: URL up to and with ``/v1``, without a trailing slash.
    :param headers: Headers of every call. May hold secrets, like all fields that ``repr`` leaves out.
    :param secrets: Values to wipe from every text that leaves the client.
    :param results_from: ``"files"``: output and error files by id; ``"output"``: the gateway's output route.
    :param verify: Verify TLS certificates.
    :param timeout: Seconds one answer may take; ``upload_timeout`` the same for the answer to a finished upload.
    :param max_retries: Repetitions of calls that may be repeated.
    :param max_connections: Connections at a time.
    :param limits: What one batch may hold.
    :param check_file_sizes: Compare downloads with the size the service reports.
    """

    base_url: str = OPENAI_URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    results_from: Literal["files", "output"] = "files"
    is_gateway: bool = False
    verify: bool = True
    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    connect_timeout: float = 10.0
    upload_timeout: float = 600.0
    max_retries: int = 5
    max_connections: int = 10
    limits: BatchLimits = DEFAULT_LIMITS
    check_file_sizes: bool = True
    console_url: str | None = None

    @property
    def has_key(self) -> bool:
        """True when calls carry some credential in the Authorization header."""
        return any(name.lower() == "authorization" for name in self.headers)

    def redact(self, text: str) -> str:
        """Replace every secret of this connection in ``text`` by asterisks."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    @classmethod
    def from_parts(
        cls,
        *,
        host: str | None = None,
        port: int | None = None,
        schema: str | None = None,
        password: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ServiceSettings:
        """
        Check and combine the parts of a connection.

        :param host: Base URL, with or without scheme; empty for OpenAI itself.
        :param port: Port, for connections written as a URI.
        :param schema: ``http``, ``https`` or a path such as ``v1``, for connections written as a URI.
        :param password: API key of the service.
        :param extra: Extra fields, see :mod:`airflow_batch_provider.core.connection_fields`. Strings are read as
            what the field is (a URI knows only strings).
        :raises ConfigurationError: A value cannot be used; the text names the field and never shows a secret.
        """
        host = (host or "").strip()
        values = parse_extra(extra or {})
        portkey = {str(f.header): _header_value(f, v) for name, v in values.items() if (f := BY_NAME[name]).header}
        # These two are OpenAI's own headers too; alone they do not mean that there is a gateway.
        is_gateway = any(
            name not in ("openai_organization", "openai_project") and BY_NAME[name].header for name in values
        )
        if is_gateway and not host:
            raise ConfigurationError(
                "The connection has gateway fields (Provider, Config, ...), but its base URL is empty, which means "
                "OpenAI itself. Fill in the gateway's URL, for example http://localhost:8787/v1, or empty the fields."
            )
        headers = _plain_headers(values)
        if password:
            headers["Authorization"] = f"Bearer {clean('password', password)}"
        headers |= portkey if is_gateway else _openai_headers(portkey)
        headers |= _headers_of(values, "secret_headers")
        options = {name: values[name] for name in _OPTIONS if name in values}
        return cls(
            base_url=base_url(host, port, schema),
            headers=headers,
            secrets=_secrets(values, password),
            results_from="output" if values.get("provider") in OUTPUT_ROUTE_PROVIDERS else "files",
            is_gateway=is_gateway,
            verify=values.get("verify_tls", True),
            limits=limits_of(
                values.get("profile") or values.get("provider"),
                max_requests=values.get("max_batch_requests"),
                max_bytes=values.get("max_batch_bytes"),
                max_tokens=values.get("max_batch_tok"),
                one_model=values.get("one_model_per_batch"),
            ),
            console_url=values.get("console_url") or (None if host else OPENAI_CONSOLE_URL),
            **options,
        )


_OPTIONS = ("ca_bundle", "proxy", "timeout", "connect_timeout", "upload_timeout", "max_retries", "max_connections",
            "check_file_sizes")  # fmt: skip


def _header_value(spec: Field, value: Any) -> str:
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    if spec.name == "custom_host":
        text = text.rstrip("/")  # the gateway appends "/batches" as it is: a trailing slash becomes "//batches"
    return clean(spec.name, text)


def _plain_headers(values: Mapping[str, Any]) -> dict[str, str]:
    headers = _headers_of(values, "extra_headers")
    for name in headers:
        if any(word in name.lower() for word in SENSITIVE_WORDS):
            raise ConfigurationError(
                f'"extra_headers" has "{name}", which looks like a secret and would be shown in clear. '
                'Move it to "secret_headers".'
            )
    return headers


def _headers_of(values: Mapping[str, Any], field_name: str) -> dict[str, str]:
    return {clean(field_name, str(k)): clean(field_name, str(v)) for k, v in values.get(field_name, {}).items()}


def _openai_headers(portkey: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(PORTKEY_PREFIX): value for name, value in portkey.items()}


def _secrets(values: Mapping[str, Any], password: str | None) -> tuple[str, ...]:
    """All secret values, longest first, so that one inside another leaves nothing behind."""
    found = {password.strip()} if password else set()
    for name, value in values.items():
        if BY_NAME[name].secret:
            found |= _strings(value)
    # "Bearer sk-..." and "http://user:pass@proxy" are secrets, and so are the parts that a service may quote alone.
    found |= {text.split()[1] for text in found if len(text.split()) == 2}
    found |= {match[1] for text in found if (match := _URL_PASSWORD.match(text))}
    # Values of a few characters would wipe half of every message, and are nobody's key.
    return tuple(sorted((text for text in found if len(text) >= 6), key=len, reverse=True))


def _strings(value: Any, *, is_secret: bool = True) -> set[str]:
    """
    The secret strings in a value: of a JSON text those under a name that sounds like a secret, else the text itself.

    A gateway config also holds words such as "openai", which must stay readable in messages.
    """
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            inner = None
        own = {value} if is_secret else set()
        return own | (_strings(inner, is_secret=False) if isinstance(inner, dict | list) else set())
    if isinstance(value, dict):
        named = [(any(word in str(name).lower() for word in SENSITIVE_WORDS), inner) for name, inner in value.items()]
    else:
        named = [(is_secret, inner) for inner in value] if isinstance(value, list) else []
    return set().union(*(_strings(inner, is_secret=is_secret or sounds) for sounds, inner in named))
