from __future__ import annotations

import pytest

from airflow_batch_provider.client.urls import base_url
from airflow_batch_provider.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("host", "port", "schema", "url"),
    [
        (None, None, None, "https://api.openai.com/v1"),
        ("", None, None, "https://api.openai.com/v1"),
        ("  ", None, None, "https://api.openai.com/v1"),
        ("http://localhost:8787/v1", None, None, "http://localhost:8787/v1"),
        ("http://localhost:8787/v1/", None, None, "http://localhost:8787/v1"),
        ("http://localhost:8787", None, None, "http://localhost:8787/v1"),
        ("http://localhost:8787/", None, None, "http://localhost:8787/v1"),
        ("HTTPS://Api.Example.Test/v1", None, None, "https://Api.Example.Test/v1"),
        ("https://example.test/api/openai/v1//", None, None, "https://example.test/api/openai/v1"),
        ("localhost:8787", None, None, "http://localhost:8787/v1"),
        ("localhost", 8787, None, "http://localhost:8787/v1"),
        ("localhost", 8787, "v1", "http://localhost:8787/v1"),
        ("localhost", 8787, "/openai/v1/", "http://localhost:8787/openai/v1"),
        ("localhost", 8787, "https", "https://localhost:8787/v1"),
        ("stub", 9911, None, "http://stub:9911/v1"),
        ("gateway.localhost", None, None, "http://gateway.localhost/v1"),
        ("10.1.2.3:80", None, None, "http://10.1.2.3:80/v1"),
        ("[::1]:8787", None, None, "http://[::1]:8787/v1"),
        ("[::1]", 8787, None, "http://[::1]:8787/v1"),
        ("8.8.8.8", None, None, "https://8.8.8.8/v1"),
        ("api.example.test", None, None, "https://api.example.test/v1"),
        ("api.example.test", 443, "http", "http://api.example.test:443/v1"),
        ("api.example.test/llm", None, None, "https://api.example.test/llm"),
        ("http://api.example.test:81/v1", 82, "https", "http://api.example.test:81/v1"),
        ("http://api.example.test", 82, None, "http://api.example.test:82/v1"),
    ],
)
def test_base_urls_of_all_spellings(host: str | None, port: int | None, schema: str | None, url: str) -> None:
    """As a URL, or as the parts that Airflow makes of a connection URI; own machines get http, others https."""
    assert base_url(host, port, schema) == url


@pytest.mark.parametrize(
    "host",
    [
        "ftp://example.test",
        "http://",
        "http:///v1",
        "http://example.test/v1?api-version=1",
        "http://example.test/v1#part",
        "http://example.test:port/v1",
        "http://example.test:99999/v1",
        "example.test:99999",
        "http://[::1/v1",
        "[::1",
        "::1",
    ],
)
def test_what_is_no_plain_url_is_refused(host: str) -> None:
    """Also where Python's own parser raises; the text shows how to write it and nothing of what was written."""
    with pytest.raises(ConfigurationError, match="is not a plain http.* URL. Write it like") as caught:
        base_url(host)

    assert "99999" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["http://user@example.test/v1", "http://:hunter22@example.test/v1", "u:hunter22@example.test"]
)
def test_a_key_in_the_url_is_refused(host: str) -> None:
    """URLs are logged, so the key belongs into the password field; it is not repeated here."""
    with pytest.raises(ConfigurationError, match="Put the API key into the password field") as caught:
        base_url(host)

    assert "hunter22" not in str(caught.value)
