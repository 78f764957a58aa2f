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
        "The gateway answers, but refuses the custom host {custom_host}. It trusts only localhost and public names: "
        "start it with TRUSTED_CUSTOM_HOSTS=127.0.0.1,<your host>."
    ),
    errors.INVALID_CONFIG: (
        'The gateway answers, but refuses "Config" ({said}). An open-source gateway wants JSON with provider and '
        "api_key, or with strategy and targets; ids (pc-...) work only with hosted Portkey."
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

_GATEWAY_REFUSALS = (errors.MISSING_PROVIDER, errors.INVALID_PROVIDER, errors.INVALID_HOST, errors.INVALID_CONFIG)


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
    more = " or more" if page.next_after else ""
    seen = f"{len(page.items)}{more} {'batch' if len(page.items) == 1 and not more else 'batches'} visible"
    if not settings.is_gateway:
        return True, f"OK: {urlsplit(settings.base_url).netloc} answers, {seen}."
    name = f'provider "{provider}"' if provider else "the provider of its config"
    return True, f"OK: gateway answers, {name} answers, {seen}."


def _explain(error: ApiError, settings: ServiceSettings, provider: str) -> str:
    if isinstance(error, ApiConnectionError):
        return _explain_silence(error, settings)
    code = error.code if isinstance(error, ApiStatusError) else None
    cannot = settings.is_gateway and provider and provider not in PROVIDERS_WITH_BATCHES and provider[0] != "@"
    # Such a provider's own address is asked for lists, so any answer (or none) may come back.
    if cannot and (code is None or code not in _GATEWAY_REFUSALS):
        code = errors.UNSUPPORTED
    if code in _GATEWAY_REMEDIES:
        custom_host = settings.headers.get("x-portkey-custom-host")
        return _GATEWAY_REMEDIES[code].format(
            provider=provider,
            custom_host=f'"{custom_host}"' if custom_host else 'in "Config"',
            said=error.said if isinstance(error, ApiStatusError) else "",
        )
    if isinstance(error, NotFoundError | ApiResponseError):
        return _explain_no_batches(error, settings)
    return str(error)


def _explain_no_batches(error: NotFoundError | ApiResponseError, settings: ServiceSettings) -> str:
    who, field, url = f"{_origin(settings)} answers, but", "base URL", settings.base_url
    is_gateways = isinstance(error, NotFoundError) and error.code == errors.UNKNOWN_ROUTE
    if (custom_host := settings.headers.get("x-portkey-custom-host")) and not is_gateways:
        who, field, url = "The gateway answers, but the service behind it", "custom host", custom_host
    hint = f"The {field} usually ends in /v1, and not every OpenAI-shaped server can run batches."
    if isinstance(error, ApiResponseError):
        return f"{error} {hint}"
    return f"{who} has no batches at {url}/batches ({error.status_code}: {error.said.rstrip('.')}). {hint}"


def _origin(settings: ServiceSettings) -> str:
    parts = urlsplit(settings.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _explain_silence(error: ApiConnectionError, settings: ServiceSettings) -> str:
    host = urlsplit(settings.base_url).hostname
    local = host in ("localhost", "127.0.0.1", "::1")
    hint = (
        " Is the gateway running? In a container, localhost is the container." if local else " Is the base URL right?"
    )
    return f"{error}{hint}"
