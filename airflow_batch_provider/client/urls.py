"""The base URL of a service, however the connection spells it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from airflow_batch_provider.exceptions import ConfigurationError

OPENAI_URL = "https://api.openai.com/v1"


def base_url(host: str | None, port: int | None = None, schema: str | None = None) -> str:
    """
    Build the URL that all paths are appended to.

    ``localhost:8787``, ``http://localhost:8787`` and ``http://localhost:8787/v1/`` are the same. Without a scheme,
    machines of one's own (localhost, bare names, private addresses) get http and all others https.

    :param host: The connection's host: a URL, or a name with or without port; empty for OpenAI itself.
    :param port: Port, when the host does not name one.
    :param schema: ``http``, ``https`` or a path such as ``v1``.
    :raises ConfigurationError: Not an http(s) URL, or one with user, query or fragment.
    """
    host = (host or "").strip()
    if not host:
        return OPENAI_URL
    schema = (schema or "").strip("/ ")
    try:
        if "://" not in host:
            scheme = schema if schema in ("http", "https") else ("http" if _is_own_machine(host) else "https")
            host = f"{scheme}://{host}"
        parts = urlsplit(host)
        own_port = parts.port
    except ValueError:  # a port that is no number, half an IPv6 address; the text may quote a password
        raise _not_a_url() from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _not_a_url()
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("The base URL holds a user or password. Put the API key into the password field.")
    netloc = parts.netloc if own_port or not port else f"{parts.netloc}:{port}"
    path = parts.path.rstrip("/")
    if not path:
        path = "/v1" if schema in ("", "http", "https") else f"/{schema}"
    return f"{parts.scheme}://{netloc}{path}"


def _not_a_url() -> ConfigurationError:
    return ConfigurationError(
        "The connection's base URL is not a plain http(s) URL. Write it like https://api.openai.com/v1 or "
        "http://localhost:8787/v1."
    )


def _is_own_machine(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or "." not in name or name.endswith(".localhost")
    return address.is_loopback or address.is_private
