"""Limits of a batch, as data."""

from __future__ import annotations

import pytest

from airflow_batch_provider.client import ServiceSettings
from airflow_batch_provider.core.limits import DEFAULT_LIMITS, PROFILES, BatchLimits, limits_of
from airflow_batch_provider.exceptions import ConfigurationError


def test_unknown_profiles_are_taken_as_openai() -> None:
    """A provider without a profile of its own has OpenAI's limits, the most common ones."""
    assert limits_of("somebody") == limits_of(None) == DEFAULT_LIMITS == BatchLimits(50_000, 200_000_000)


def test_single_values_override_the_profile() -> None:
    """What the connection says of one limit leaves the others of the profile alone."""
    limits = limits_of("azure-openai", max_requests=10)

    assert (limits.max_requests, limits.max_bytes, limits.one_model) == (10, PROFILES["azure-openai"].max_bytes, True)


@pytest.mark.parametrize(
    ("max_tokens", "expected"), [pytest.param(None, 1000, id="none"), pytest.param(100, 300, id="fewer-than-bytes"),
                                 pytest.param(10_000, 1000, id="more-than-bytes")]
)  # fmt: skip
def test_tokens_are_counted_as_bytes(max_tokens: int | None, expected: int) -> None:
    """A limit of tokens makes batches smaller where it is the tighter one."""
    assert BatchLimits(max_bytes=1000, max_tokens=max_tokens).effective_bytes == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        pytest.param({}, DEFAULT_LIMITS, id="openai-itself"),
        pytest.param({"profile": "together"}, PROFILES["together"], id="profile"),
        pytest.param({"provider": "bedrock"}, PROFILES["bedrock"], id="provider"),
        pytest.param({"provider": "openai", "profile": "ogx"}, PROFILES["ogx"], id="profile-over-provider"),
        pytest.param({"max_batch_tok": "90"}, BatchLimits(max_tokens=90), id="tokens-from-a-uri"),
        pytest.param({"one_model_per_batch": True}, BatchLimits(one_model=True), id="one-model"),
    ],
)
def test_connection_says_the_limits(extra: dict[str, object], expected: BatchLimits) -> None:
    """Profile, provider and single fields of the connection give the limits, in this order of strength."""
    assert ServiceSettings.from_parts(host="http://localhost:1/v1", extra=extra).limits == expected


@pytest.mark.parametrize("changes", [{"max_rows": 1}, {"max_requests": 0}, {"max_bytes": "many"}])
def test_a_task_cannot_set_limits_that_do_not_exist(changes: dict[str, object]) -> None:
    """A mistyped limit, or one that lets nothing through, is named before anything is planned."""
    with pytest.raises(ConfigurationError, match="limit"):
        DEFAULT_LIMITS.overridden(changes)
