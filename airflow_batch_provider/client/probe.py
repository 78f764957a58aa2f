"""What the connection form's Test button says: one sentence about the connection, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from airflow_batch_provider.client import errors
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.sync import BatchClient
from airflow_batch_provider.exceptions import (
    ApiConnectionError,
    ApiError,
    ApiResponseError,
    ApiStatusError,
    ConfigurationError,
    NotFoundError,
)

PROBE_TIMEOUT_SECONDS = 15.0
PROVIDERS_WITH_BATCHES = ("openai", "azure-openai", "bedrock", "vertex-ai", "cohere", "azure-ai")

_GATEWAY_REMEDIES = {
    errors.MISSING_PROVIDER: (
        'The gateway answers, but wants to know the provider: fill in "Provider" (for example openai) or "Config".'
    ),
    errors.INVALID_PROVIDER: (
        'The gateway answers, but does not know the provider "{provider}": names are in lower case, for example openai.'
    ),
    errors.INVALID_HOST: (
        'The gateway answers, but refuses the custom host "{custom_host}". It trusts only localhost and public names: '
        "start it with TRUSTED_CUSTOM_HOSTS=127.0.0.1,<your host>."
    ),
    errors.INVALID_CONFIG: (
        'The gateway answers, but cannot read "Config": an open-source gateway wants JSON, ids (pc-...) work only with '
        "hosted Portkey."
    ),
    errors.UPSTREAM_DOWN: (
        'The gateway answers, but cannot reach the service behind it ({said}). Check "Custom host"; it is resolved '
        "where the gateway runs."
    ),
    errors.UNSUPPORTED: (
        'The gateway answers, but cannot run batches with the provider "{provider}". It can with '
        + ", ".join(PROVIDERS_WITH_BATCHES)
        + '; for an OpenAI-shaped service use openai and "Custom host".'
    ),
}


def probe(get_settings: Callable[[], ServiceSettings]) -> tuple[bool, str]:
    """
    Try a connection with one list call, which costs nothing and changes nothing.

    :param get_settings: Reads the connection.
    :returns: Whether it works, and a sentence.
    """
    try:
        settings = get_settings()
        # A person waits for the answer: no retries, no long timeouts.
        quick = replace(settings, max_retries=0, timeout=min(settings.timeout, PROBE_TIMEOUT_SECONDS))
        with BatchClient(quick) as client:
            return _probe(client)
    except ConfigurationError as error:
        return False, str(error)


def _probe(client: BatchClient) -> tuple[bool, str]:
    settings = client.settings
    provider = settings.headers.get("x-portkey-provider", "")
    try:
        page = client.list_batch_page(page_size=100)
    except ApiError as error:
        return False, _explain(error, settings, provider)
    seen = f"{len(page.items)}{' or more' if page.next_after else ''} batches visible"
    if not settings.is_gateway:
        return True, f"OK: {urlsplit(settings.base_url).netloc} answers, {seen}."
    name = f'provider "{provider}"' if provider else "the provider of its config"
    return True, f"OK: gateway answers, {name} answers, {seen}."


def _explain(error: ApiError, settings: ServiceSettings, provider: str) -> str:
    origin = f"{urlsplit(settings.base_url).scheme}://{urlsplit(settings.base_url).netloc}"
    if isinstance(error, ApiConnectionError):
        return _explain_silence(error, settings)
    if isinstance(error, ApiStatusError) and error.code in _GATEWAY_REMEDIES:
        return _GATEWAY_REMEDIES[error.code].format(
            provider=provider, custom_host=settings.headers.get("x-portkey-custom-host", ""), said=error.said
        )
    if settings.is_gateway and provider and provider not in PROVIDERS_WITH_BATCHES and not provider.startswith("@"):
        return _GATEWAY_REMEDIES[errors.UNSUPPORTED].format(provider=provider)
    if isinstance(error, NotFoundError | ApiResponseError):
        return (
            f"{origin} answers, but has no batches at {settings.base_url}/batches ({error}) Is the path right? "
            "It usually ends in /v1. Not every OpenAI-shaped server can run batches."
        )
    return str(error)


def _explain_silence(error: ApiConnectionError, settings: ServiceSettings) -> str:
    host = urlsplit(settings.base_url).hostname
    local = host in ("localhost", "127.0.0.1", "::1")
    hint = (
        " Is the gateway running? In a container, localhost is the container." if local else " Is the base URL right?"
    )
    return f"{error}{hint}"
