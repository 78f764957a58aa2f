from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.core.identity import KEY_FIELD, TaskIdentity, can_be_adopted, metadata_with_key
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ConfigurationError
from tests.core.support import batch

ME = TaskIdentity("nightly", "label", "manual__2026-11-24", -1)


def test_the_key_never_changes() -> None:
    """Keys are kept at services and in state stores: another version of this package must find them."""
    assert ME.key("file-1", "/v1/chat/completions", {"b": 1, "a": 2}) == "ba6806685f80ef912eb81438e400064b"
    assert len(ME.key()) == 32


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(TaskIdentity("nightly2", "label", "manual__2026-11-24", -1), id="dag"),
        pytest.param(TaskIdentity("nightly", "label2", "manual__2026-11-24", -1), id="task"),
        pytest.param(TaskIdentity("nightly", "label", "manual__2026-11-25", -1), id="run"),
        pytest.param(TaskIdentity("nightly", "label", "manual__2026-11-24", 0), id="map-index"),
        pytest.param(TaskIdentity("nightlyl", "abel", "manual__2026-11-24", -1), id="moved-letter"),
    ],
)
def test_each_task_instance_has_its_own_key(other: TaskIdentity) -> None:
    """A retry must never adopt what another task instance paid for."""
    assert other.key("file-1") != ME.key("file-1")


def test_each_call_has_its_own_key() -> None:
    """Another input or another body is another call; the order of a dict's keys is none."""
    assert ME.key("file-1") != ME.key("file-2")
    assert ME.key({"a": 1, "b": 2}) == ME.key({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (ME, "nightly.label run manual__2026-11-24"),
        (TaskIdentity("d", "t", "r", 0), "d.t[0] run r"),
    ],
)
def test_an_identity_reads_like_airflow_writes_it(identity: TaskIdentity, text: str) -> None:
    """The map index is named for mapped tasks only."""
    assert str(identity) == text


def test_metadata_hold_the_users_pairs_the_key_and_the_ids() -> None:
    """People find the task in the service's console, retries find the key."""
    assert metadata_with_key({"team": "search"}, ME, "k" * 32) == {
        "team": "search",
        KEY_FIELD: "k" * 32,
        "airflow_dag_id": "nightly",
        "airflow_task_id": "label",
        "airflow_run_id": "manual__2026-11-24",
        "airflow_map_index": "-1",
    }


def test_nobody_overwrites_the_key() -> None:
    """With a user's value in its place a lost batch would never be found again."""
    assert metadata_with_key({KEY_FIELD: "mine"}, ME, "key")[KEY_FIELD] == "key"


def test_own_values_fit_the_limit() -> None:
    """A long run id is cut to what services take instead of failing the create call."""
    found = metadata_with_key({}, TaskIdentity("d" * 600, "t" * 600, "r" * 600), "key")

    assert {len(found[f"airflow_{name}_id"]) for name in ("dag", "task", "run")} == {512}


def test_sixteen_pairs_are_the_limit() -> None:
    """Eleven pairs are the user's; the message says where the other five go."""
    fits = {f"pair-{number}": "x" for number in range(11)}

    assert len(metadata_with_key(fits, ME, "key")) == 16
    with pytest.raises(ConfigurationError, match="has 12 pairs, but there is room for 11"):
        metadata_with_key({**fits, "one-more": "x"}, ME, "key")


@pytest.mark.parametrize(
    "user",
    [
        pytest.param({"n": 5}, id="number"),
        pytest.param({"n": None}, id="null"),
        pytest.param({"n": "x" * 513}, id="long-value"),
        pytest.param({"n" * 65: "x"}, id="long-name"),
        pytest.param({5: "x"}, id="name-is-no-text"),
    ],
)
def test_pairs_that_services_refuse_are_refused_here(user: Any) -> None:
    """Strings of 512 characters with names of 64 are the limit, and the message names the pair."""
    with pytest.raises(ConfigurationError, match=r'`metadata\["\w+"\]` must be a string of at most 512'):
        metadata_with_key(user, ME, "key")


def test_the_longest_pair_fits() -> None:
    """The limits themselves are allowed."""
    assert metadata_with_key({"n" * 64: "x" * 512}, ME, "key")["n" * 64] == "x" * 512


@pytest.mark.parametrize("status", list(BatchStatus))
def test_what_runs_or_completed_is_adopted(status: BatchStatus) -> None:
    """A batch that failed, expired or was cancelled is done with; all others are worth re-attaching to."""
    dead = {BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}

    assert can_be_adopted(batch(status=status)) is (status not in dead)
