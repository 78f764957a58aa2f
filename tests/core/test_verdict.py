"""Whether a finished run is good news."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.core.verdict import check_fail_on_share, verdict
from airflow_batch_provider.exceptions import ConfigurationError


def summary(requests: int, succeeded: int, reasons: dict[str, int] | None = None) -> dict[str, Any]:
    return {
        "requests": requests,
        "outcomes": {"succeeded": succeeded},
        "reasons": reasons or {},
        "results": "out/results.jsonl",
        "failures": "out/failures.jsonl",
    }


@pytest.mark.parametrize(
    ("fail_on", "succeeded", "is_bad"),
    [
        pytest.param("any", 100, False, id="any-of-none"),
        pytest.param("any", 99, True, id="any-of-one"),
        pytest.param("all", 1, False, id="all-but-one"),
        pytest.param("all", 0, True, id="all"),
        pytest.param("never", 0, False, id="never"),
        pytest.param(0.05, 95, False, id="share-reached"),
        pytest.param(0.05, 94, True, id="share-passed"),
        pytest.param(0, 100, False, id="zero-and-none"),
        pytest.param(0, 99, True, id="zero-and-one"),
        pytest.param(1, 0, False, id="one-forgives-all"),
    ],
)
def test_the_policy_decides(fail_on: Any, succeeded: int, is_bad: bool) -> None:
    """A share is the part of the rows that may fail; reaching it is still good."""
    assert (verdict(summary(100, succeeded), fail_on) is not None) == is_bad


def test_the_error_says_what_to_do() -> None:
    """How many, why, where the rows are, and that nothing is paid again; the summary travels with it."""
    found = summary(1200, 1198, {"400 context_length_exceeded": 2})
    error = verdict(found, "any")

    assert error is not None
    assert str(error).startswith("2 of 1,200 requests did not succeed (2x 400 context_length_exceeded)")
    assert "out/results.jsonl" in str(error)
    assert "out/failures.jsonl, ready to be an input" in str(error)
    assert (error.summary, error.retryable) == (found, False)


@pytest.mark.parametrize("fail_on", ["any", "all", "never", 0, 0.01, 1.0])
def test_known_policies_pass(fail_on: Any) -> None:
    """Words and shares from 0 to 1."""
    check_fail_on_share(fail_on)


@pytest.mark.parametrize("fail_on", ["some", "", None, True, -0.1, 1.5, float("nan")])
def test_unknown_policies_are_refused(fail_on: Any) -> None:
    """A typo is found before anything is sent."""
    with pytest.raises(ConfigurationError, match="`fail_on` must be"):
        check_fail_on_share(fail_on)
