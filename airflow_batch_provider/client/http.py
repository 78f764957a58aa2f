"""What the sync and the async client share: options, headers, reading answers, translating httpx's exceptions."""

from __future__ import annotations

import importlib.util
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from airflow_batch_provider.client.calls import Call
from airflow_batch_provider.client.errors import error_from_answer, without_wrapping
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.exceptions import ApiConnectionError, ApiResponseError, ConfigurationError

T = TypeVar("T")

# Far over any list page or error text, far under what would hurt a worker.
MAX_JSON_BYTES = 32_000_000

# Parts of a gateway's config that alone make it a valid one, besides retry and request_timeout.
_CONFIG_ANCHORS = {"api_key", "virtual_key", "targets", "cache"}

# Below the 5 s after which a Portkey gateway closes an idle connection: a POST on a connection that is just being
# closed ends in "nobody knows whether it worked".
KEEPALIVE_SECONDS = 3.0


def client_options(settings: ServiceSettings) -> dict[str, Any]:
    """
    Keyword arguments that ``httpx.Client`` and ``httpx.AsyncClient`` share.

    :param settings: The service.
    :raises ConfigurationError: The CA bundle cannot be read, or the proxy is no URL.
    """
    headers = httpx.Headers({"User-Agent": "airflow-batch-provider", "Accept-Encoding": "identity"})
    for name, value in settings.headers.items():
        headers[name] = value  # one by one: the same name in other letters replaces, instead of being sent twice
    return {
        "headers": headers,
        "timeout": httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
        "limits": httpx.Limits(max_connections=settings.max_connections, keepalive_expiry=KEEPALIVE_SECONDS),
        "verify": _tls_context(settings.verify, settings.ca_bundle),
        "proxy": _proxy(settings.proxy),
        "follow_redirects": False,
    }


def _proxy(url: str | None) -> httpx.Proxy | None:
    if url is None:
        return None
    try:
        proxy = httpx.Proxy(url)
        is_usable = bool(proxy.url.host)
    except (ValueError, httpx.InvalidURL):  # the text may quote the proxy's password
        is_usable = False
    if not is_usable:
        raise ConfigurationError('The connection\'s "proxy" is not the URL of a proxy, like http://proxy:3128.')
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError('The connection\'s "proxy" is a SOCKS proxy; that needs the Python package socksio.')
    return proxy


@lru_cache(maxsize=16)
def _tls_context(verify: bool, ca_bundle: str | None) -> ssl.SSLContext | bool:
    # Loading the certificates takes tens of milliseconds; a triggerer opens many clients.
    if not verify:
        return False
    try:
        return httpx.create_ssl_context() if ca_bundle is None else ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"The connection's CA bundle {ca_bundle} cannot be read on this machine ({error}). It must exist on every "
            "worker and triggerer."
        ) from error


def request_options(call: Call[Any]) -> dict[str, Any]:
    """
    Keyword arguments of ``build_request`` for a call.

    :param call: The call.
    """
    options: dict[str, Any] = {"params": dict(call.params) or None}
    if call.body is not None:
        # ASCII: a gateway's chunk splitter may cut a multi-byte character. The content type is explicit because
        # without it the gateway loses the body.
        options["content"] = json.dumps(call.body).encode("ascii")
        options["headers"] = {"Content-Type": "application/json"}
    return options


def headers_without_retries(settings: ServiceSettings) -> dict[str, str]:
    """
    Headers to override where the gateway must not repeat the call: uploads and paid calls.

    A gateway config with ``retry`` re-sends POST /batches (two batches) and cannot re-send an upload's stream (it then
    hides the service's real answer). Its request timeout would cut long uploads.

    :param settings: The service.
    """
    config = httpx.Headers(settings.headers).get("x-portkey-config")
    if not config:
        return {}
    try:
        return {"x-portkey-config": json.dumps(_without_retry(json.loads(config)))}
    except ValueError:
        return {}  # the id of a config kept by hosted Portkey


def _without_retry(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("mode") == "fallback":
            # A second provider after a lost answer: another file, another batch. "single" takes the first one.
            return {"mode": "single"}
        kept = {key: _without_retry(inner) for key, inner in value.items() if key not in ("retry", "request_timeout")}
        if len(kept) == len(value) or kept.keys() & _CONFIG_ANCHORS:
            return kept
        # The gateway refuses a config that says nothing, such as {}.
        return {**kept, "retry": {"attempts": 0}}
    return [_without_retry(inner) for inner in value] if isinstance(value, list) else value


def read_answer(call: Call[T], status: int, headers: Mapping[str, str], body: bytes, settings: ServiceSettings) -> T:
    """
    Turn an answer into the call's value.

    :param call: What was asked.
    :param status: HTTP status.
    :param headers: Answer headers.
    :param body: Answer body.
    :param settings: The service.
    :raises ApiStatusError: The answer says no.
    :raises ApiResponseError: The answer is not what the call promises.
    """
    if not 200 <= status < 300:
        raise error_from_answer(status, headers, body, call.subject, settings, is_paid=call.method == "POST")
    try:
        data = without_wrapping(call.decode(body)) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise _not_json(call.subject, headers.get("content-type", "no content type"), settings) from error
    if isinstance(data, dict) and data.keys() == {"html-message"}:
        raise _not_json(call.subject, "text, wrapped by the gateway", settings)
    try:
        return call.read(data)
    except ApiResponseError as error:
        raise ApiResponseError(
            f"{settings.base_url} answered the call for {call.subject} with JSON that does not fit: {error}"
        ) from None


def _not_json(subject: str, kind: str, settings: ServiceSettings) -> ApiResponseError:
    where = "custom host" if "x-portkey-custom-host" in settings.headers else "base URL"
    return ApiResponseError(
        f"{settings.base_url} answered the call for {subject} with something that is not JSON ({kind}). "
        f"Is the {where} that of the API?"
    )


class BoundedBody:
    """
    Collects an answer's body up to a limit.

    :param subject: What the call is about, for the error text.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > MAX_JSON_BYTES:
            raise ApiResponseError(
                f"The answer about {self.subject} is larger than {MAX_JSON_BYTES:,} bytes; not read further."
            )
        self._chunks.append(chunk)

    def content(self) -> bytes:
        return b"".join(self._chunks)


@contextmanager
def translated(subject: str, settings: ServiceSettings) -> Iterator[None]:
    """
    Turn httpx's exceptions into ours; the one place where that happens.

    :param subject: What the call is about.
    :param settings: The service.
    """
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
        # LocalProtocolError: a header or body that HTTP cannot carry. Its text may quote the header, hence no cause.
        # UnicodeError: a host name with two dots in a row, or a part that is too long.
        raise ConfigurationError(
            f"The call for {subject} cannot be sent to {settings.base_url} ({type(error).__name__}). "
            "Check the connection's URL and headers."
        ) from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        raise ApiConnectionError(f"{_origin(settings)} does not answer ({_reason(error, settings)}).", True) from error
    except httpx.TimeoutException as error:
        raise ApiConnectionError(
            f"{_origin(settings)} did not answer in time ({subject}, {type(error).__name__})."
        ) from error
    except (httpx.HTTPError, httpx.StreamError, httpx.CookieConflict) as error:
        raise ApiConnectionError(
            f"{_origin(settings)} broke off the answer ({subject}, {_reason(error, settings)})."
        ) from error


def _origin(settings: ServiceSettings) -> str:
    parts = urlsplit(settings.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _reason(error: Exception, settings: ServiceSettings) -> str:
    text = settings.redact(str(error))
    if "refused" in text.lower():
        return "connection refused"
    if any(
        words in text for words in ("Name or service not known", "nodename nor servname", "Temporary failure in name")
    ):
        return "unknown host name"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {settings.connect_timeout:g} s"
    return text[:200] or type(error).__name__
