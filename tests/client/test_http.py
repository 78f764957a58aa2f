from __future__ import annotations

import inspect
import json
import traceback
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client.http import client_options, headers_without_retries, translated
from airflow_batch_provider.exceptions import ApiConnectionError, BatchError, ConfigurationError
from tests.client.support import KEY, URL, gateway, settings

HTTPX_ERRORS = sorted(
    (kind for kind in vars(httpx).values() if inspect.isclass(kind) and issubclass(kind, Exception)),
    key=lambda kind: kind.__name__,
)
NEVER_SENT = {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError}
OURS_TO_FIX = {httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError}


def made(kind: type[Exception]) -> Exception:
    """An exception of this class, however it wants to be built."""
    request = httpx.Request("GET", URL)
    options: dict[str, Any] = {"request": request, "response": httpx.Response(500, request=request)}
    wanted = inspect.signature(kind.__init__).parameters
    return kind(*(["boom"] if "message" in wanted else []), **{k: v for k, v in options.items() if k in wanted})


@pytest.mark.parametrize("kind", HTTPX_ERRORS, ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_is_translated(kind: type[Exception]) -> None:
    """Nothing of httpx reaches a caller, also not what a later version adds."""
    with pytest.raises(BatchError) as caught, translated("batch b1", settings()):
        raise made(kind)

    if kind in OURS_TO_FIX:
        assert isinstance(caught.value, ConfigurationError)
    else:
        assert isinstance(caught.value, ApiConnectionError)
        assert caught.value.never_sent is (kind in NEVER_SENT)
        assert "http://service.test" in str(caught.value)


def test_httpx_is_enumerated() -> None:
    """The test above sees all of them."""
    assert len(HTTPX_ERRORS) >= 25
    assert httpx.ReadTimeout in HTTPX_ERRORS
    assert httpx.CookieConflict in HTTPX_ERRORS


def test_other_exceptions_pass() -> None:
    """A full disk or a wrong input is not the service's fault."""
    with pytest.raises(OSError, match="disk"), translated("batch b1", settings()):
        raise OSError("disk")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "does not answer (connection refused)"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "does not answer (unknown host name)"),
        (httpx.ConnectError("[Errno 8] nodename nor servname provided"), "does not answer (unknown host name)"),
        (httpx.ConnectError("[Errno -3] Temporary failure in name resolution"), "does not answer (unknown host name)"),
        (httpx.ConnectTimeout(""), "does not answer (no connection within 10 s)"),
        (httpx.PoolTimeout(""), "does not answer (PoolTimeout)"),
        (httpx.ReadTimeout(""), "did not answer in time (batch b1, ReadTimeout)"),
        (httpx.ReadError(""), "broke off the answer (batch b1, ReadError)"),
        (httpx.RemoteProtocolError("x" * 999), "broke off the answer (batch b1, " + "x" * 200 + ")"),
    ],
)
def test_silence_is_explained(error: Exception, text: str) -> None:
    """Which host, what happened, in a bounded sentence."""
    with pytest.raises(ApiConnectionError) as caught, translated("batch b1", settings()):
        raise error

    assert str(caught.value) == f"http://service.test {text}."


def test_secrets_in_httpx_texts_are_wiped() -> None:
    """What httpx quotes is cleaned; where it quotes headers, not even the cause is kept."""
    with pytest.raises(ApiConnectionError) as caught, translated("b", settings()):
        raise httpx.ConnectError(f"bad {KEY}")
    assert KEY not in str(caught.value)

    with pytest.raises(ConfigurationError) as bad, translated("b", settings()):
        raise httpx.LocalProtocolError(f"Illegal header value {KEY}")
    assert KEY not in "".join(traceback.format_exception(bad.value))


@pytest.mark.parametrize(
    "host", ["http://api..example.test/v1", f"http://{'a' * 64}.test/v1"], ids=["two-dots", "long"]
)
def test_a_host_that_cannot_be_looked_up_is_a_wrong_connection(host: str) -> None:
    """Python answers such names with a UnicodeError, which must not reach the user bare."""
    with pytest.raises(ConfigurationError, match="Check the connection's URL"), translated("b", settings(host=host)):
        host.split("/")[2].encode("idna")


def test_headers_that_differ_in_case_are_sent_once() -> None:
    """The connection's own header wins over the password and over our defaults; nothing is sent twice."""
    extra = {"secret_headers": {"authorization": "Basic abc"}, "extra_headers": {"user-agent": "me"}}
    headers = client_options(settings(extra=extra))["headers"]

    assert headers.get_list("authorization") == ["Basic abc"]
    assert headers.get_list("user-agent") == ["me"]
    assert headers["accept-encoding"] == "identity"


def test_connections_are_kept_for_less_than_the_gateway_keeps_them() -> None:
    """A POST on a connection that is just being closed ends in "nobody knows"; a gateway closes after 5 s."""
    limits = client_options(settings(extra={"max_connections": 3}))["limits"]

    assert limits.keepalive_expiry < 5
    assert limits.max_connections == 3


def test_timeouts_are_the_connections() -> None:
    """Connect and answer have their own."""
    timeout = client_options(settings(extra={"timeout": 7, "connect_timeout": 2}))["timeout"]

    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (2, 7, 7, 7)


def test_redirects_are_off_and_tls_is_on() -> None:
    """The key goes to the one host that is named, and only to it."""
    options = client_options(settings())

    assert options["follow_redirects"] is False
    assert options["verify"] is not False
    assert client_options(settings(extra={"verify_tls": "false"}))["verify"] is False


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_a_ca_bundle_that_cannot_be_read_is_a_wrong_connection(content: bytes | None, tmp_path: Any) -> None:
    """It must exist on every worker and triggerer, so the path is named."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ca\.pem cannot be read on this machine"):
        client_options(settings(extra={"ca_bundle": str(path)}))


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://user:hunter22@h", "http://", "http://user:hunter22@[::1", "socks5://h:1"]
)
def test_a_wrong_proxy_is_a_wrong_connection(url: str) -> None:
    """The Test button and the task name the field, and never its password."""
    with pytest.raises(ConfigurationError, match='"proxy"') as caught:
        client_options(settings(extra={"proxy": url}))

    assert "hunter22" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_is_used() -> None:
    """A good URL becomes httpx's proxy; without one there is none."""
    assert client_options(settings(extra={"proxy": "http://user:pass@proxy.test:3128"}))["proxy"].url.port == 3128
    assert client_options(settings())["proxy"] is None


def config_sent(config: Any) -> Any:
    return json.loads(headers_without_retries(gateway(secret_config=config))["x-portkey-config"])


def test_the_gateway_must_not_repeat_uploads_and_paid_calls() -> None:
    """Retry, fallback and the gateway's timeout leave the config, at every depth; the rest stays."""
    config = {
        "retry": {"attempts": 5},
        "request_timeout": 1,
        "strategy": {"mode": "fallback", "on_status_codes": [500]},
        "targets": [
            {"provider": "openai", "api_key": "k", "retry": {"attempts": 1}},
            {"provider": "azure-openai", "n": 1},
        ],
    }

    assert config_sent(config) == {
        "strategy": {"mode": "single"},
        "targets": [{"provider": "openai", "api_key": "k"}, {"provider": "azure-openai", "n": 1}],
    }


def test_a_config_without_retries_stays_as_it_is() -> None:
    """Load balancing and all else are the user's."""
    config = {"strategy": {"mode": "loadbalance"}, "targets": [{"provider": "openai", "weight": 1}]}

    assert config_sent(config) == config


def test_a_config_of_retries_alone_is_still_one() -> None:
    """The gateway refuses an empty config, so the retries are switched off instead."""
    assert config_sent({"retry": {"attempts": 5}}) == {"retry": {"attempts": 0}}


def test_config_ids_and_missing_configs_are_left_alone() -> None:
    """Hosted Portkey keeps configs under an id, which says nothing here."""
    assert headers_without_retries(gateway(secret_config="pc-abc123")) == {}
    assert headers_without_retries(gateway()) == {}


def test_a_config_in_the_secret_headers_is_found_too() -> None:
    """Header names have no case."""
    using = settings(extra={"secret_headers": {"X-Portkey-Config": '{"provider": "openai", "retry": {"attempts": 5}}'}})

    assert 'attempts": 5' not in str(headers_without_retries(using))
    assert headers_without_retries(using)
