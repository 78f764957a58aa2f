from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.exceptions import TriggerEventError

GOOD: dict[str, Any] = {
    "version": 1,
    "outcome": "ended",
    "batch_ids": ["batch_1"],
    "deadline_at": 5.0,
    "open_ids": [],
    "reason": "",
}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(WaitEvent("ended", ("batch_1", "batch_2"), 1_800_000_000.5), id="ended"),
        pytest.param(WaitEvent("timed_out", ("batch_1", "batch_2"), 1.0, ("batch_2",)), id="timed-out"),
        pytest.param(WaitEvent("gave_up", ("batch_1",), 1.0, ("batch_1",), "no answer"), id="gave-up"),
    ],
)
def test_events_survive_the_way_through_json(event: WaitEvent) -> None:
    """What a trigger says is what the resumed task reads, after the database's JSON."""
    assert WaitEvent.from_event(json.loads(json.dumps(event.to_event()))) == event


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(None, id="missing"),
        pytest.param({}, id="empty"),
        pytest.param("ended", id="text"),
        pytest.param([GOOD], id="list"),
        pytest.param({**GOOD, "version": 2}, id="newer-version"),
        pytest.param({**GOOD, "version": []}, id="unhashable-version"),
        pytest.param({**GOOD, "outcome": "completed"}, id="unknown-outcome"),
        pytest.param({**GOOD, "outcome": None}, id="no-outcome"),
        pytest.param({**GOOD, "batch_ids": "batch_1"}, id="ids-are-one-text"),
        pytest.param({**GOOD, "batch_ids": [None]}, id="ids-are-not-text"),
        pytest.param({**GOOD, "open_ids": None}, id="open-ids-are-null"),
        pytest.param({**GOOD, "deadline_at": "soon"}, id="deadline-is-text"),
        pytest.param({**GOOD, "deadline_at": 10**400}, id="deadline-is-huge"),
        pytest.param({key: value for key, value in GOOD.items() if key != "reason"}, id="field-missing"),
    ],
)
def test_a_missing_or_malformed_event_is_refused(event: Any) -> None:
    """Read leniently, a dead wait would look like a good end."""
    with pytest.raises(TriggerEventError, match="a retry re-attaches to them") as caught:
        WaitEvent.from_event(event)

    assert caught.value.retryable
