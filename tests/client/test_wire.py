from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_batch_provider.client import wording
from airflow_batch_provider.client.wire import batch_from_wire, file_from_wire, moment_from_wire
from airflow_batch_provider.core.batches import BatchProblem, RequestCounts
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiResponseError

AT = "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1_700_000_000, id="seconds"),
        pytest.param(1_700_000_000.0, id="seconds-as-float"),
        pytest.param("1700000000", id="seconds-as-text"),
        pytest.param(1_700_000_000_000, id="milliseconds"),
        pytest.param("1700000000000", id="milliseconds-as-text"),
        pytest.param("2023-11-14T22:13:20Z", id="iso"),
        pytest.param("2023-11-14T23:13:20+01:00", id="iso-with-zone"),
        pytest.param("2023-11-14 22:13:20", id="iso-without-zone"),
    ],
)
def test_times_of_all_spellings(value: Any) -> None:
    """Seconds, milliseconds (Bedrock, Vertex, Cohere), digits as text and ISO give the same moment, in UTC."""
    moment = moment_from_wire(value)

    assert moment is not None
    assert moment.to_iso8601_string() == AT


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        0,
        "0",
        -5,
        True,
        False,
        [],
        {},
        "soon",
        "now",
        "10:00",
        "PT1H",
        3e14,
        1e18,
        10**400,
        "nan",
        float("inf"),
    ],
)
def test_nonsense_is_no_time(value: Any) -> None:
    """Null, zero, other types and numbers outside of the calendar are no time, and never an exception."""
    assert moment_from_wire(value) is None


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2023-13-45"])
def test_dates_outside_of_the_calendar_are_no_time(value: str) -> None:
    """Texts that look like a date and are none are passed over."""
    assert moment_from_wire(value) is None


@given(st.floats() | st.integers() | st.text())
def test_no_value_breaks_the_reading_of_a_time(value: Any) -> None:
    """Whatever a service sends as a time, the batch itself is readable."""
    assert batch_from_wire({"id": "b", "created_at": value}).id == "b"


def test_a_full_batch_is_read() -> None:
    """The OpenAI reference's example, field by field; the rest is kept in ``extra``."""
    found = batch_from_wire(
        {
            "id": "batch_1", "object": "batch", "endpoint": "/v1/embeddings", "errors": None, "input_file_id": "file-1",
            "completion_window": "24h", "status": "completed", "output_file_id": "file-2", "error_file_id": "file-3",
            "created_at": 1_700_000_000, "in_progress_at": 1_700_000_000, "expires_at": 1_700_000_000,
            "finalizing_at": 1, "completed_at": 1_700_000_000, "failed_at": None,
            "request_counts": {"total": 100, "completed": 95, "failed": 5}, "metadata": {"team": "x", "n": 5},
            "model": "m",
        }
    )  # fmt: skip

    assert found.status is BatchStatus.COMPLETED
    assert found.raw_status == "completed"
    assert (found.endpoint, found.input_file_id) == ("/v1/embeddings", "file-1")
    assert (found.output_file_id, found.error_file_id) == ("file-2", "file-3")
    assert found.counts == RequestCounts(100, 95, 5)
    assert found.metadata == {"team": "x", "n": "5"}
    assert found.problems == ()
    assert {str(at) for at in (found.created_at, found.in_progress_at, found.ended_at, found.expires_at)} == {
        str(moment_from_wire(AT))
    }
    assert found.extra == {"completion_window": "24h", "finalizing_at": 1, "model": "m"}


@pytest.mark.parametrize("name", ["completed_at", "failed_at", "expired_at", "cancelled_at"])
def test_the_end_has_four_names(name: str) -> None:
    """Whichever end it was, its time is the end."""
    assert batch_from_wire({"id": "b", name: 1_700_000_000}).ended_at is not None


def test_a_minimal_batch_is_read() -> None:
    """Bedrock's answer to a create call has an id and nothing else."""
    found = batch_from_wire({"id": "arn%3Aaws", "object": "batch"})

    assert found.id == "arn%3Aaws"
    assert found.status is BatchStatus.UNKNOWN
    assert (found.raw_status, found.counts, found.metadata, found.created_at) == (None, None, None, None)


@pytest.mark.parametrize("data", [None, [], "batch", 5, {}, {"id": None}, {"id": ""}, {"id": 5}, {"object": "batch"}])
def test_what_has_no_id_is_no_batch_and_no_file(data: Any) -> None:
    """An error page read as a batch would be waited for until the deadline."""
    with pytest.raises(ApiResponseError, match="is not a batch"):
        batch_from_wire(data)
    with pytest.raises(ApiResponseError, match="is not a file"):
        file_from_wire(data)


@pytest.mark.parametrize("value", ["", None, 0, False, {}])
def test_empty_ids_are_absent(value: Any) -> None:
    """Some services send "" where the reference says null: such a file must not be fetched."""
    found = batch_from_wire({"id": "b", "output_file_id": value, "error_file_id": value, "input_file_id": value})

    assert found.file_ids == ()


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        pytest.param({"total": 3, "completed": 2, "failed": 1}, RequestCounts(3, 2, 1), id="numbers"),
        pytest.param({"total": "3", "completed": "2", "failed": "1"}, RequestCounts(3, 2, 1), id="text"),
        pytest.param({"total": 3}, RequestCounts(3, 0, 0), id="some-absent"),
        pytest.param({"total": 3, "completed": None, "failed": "x"}, RequestCounts(3, 0, 0), id="some-nonsense"),
        pytest.param({"total": 3.0, "completed": -1, "failed": True}, RequestCounts(3, 0, 0), id="odd-numbers"),
        pytest.param({"total": float("inf"), "completed": float("nan")}, RequestCounts(0, 0, 0), id="no-numbers"),
        pytest.param({}, None, id="empty"),
        pytest.param({"done": 3}, None, id="other-names"),
        pytest.param(None, None, id="null"),
        pytest.param([1, 2], None, id="list"),
    ],
)
def test_counts_of_all_spellings(data: Any, counts: RequestCounts | None) -> None:
    """Numbers, digits as text, absent parts; what is no count at all is None, not zero."""
    assert batch_from_wire({"id": "b", "request_counts": data}).counts == counts


def test_not_telling_metadata_is_not_telling_none() -> None:
    """Only a service that answers with the field can say that a key is absent."""
    assert batch_from_wire({"id": "b"}).metadata is None
    assert batch_from_wire({"id": "b", "metadata": None}).metadata == {}
    assert batch_from_wire({"id": "b", "metadata": {}}).metadata == {}
    assert batch_from_wire({"id": "b", "metadata": "x"}).metadata == {}
    assert batch_from_wire({"id": "b", "metadata": {"a": {"b": [1]}}}).metadata == {"a": '{"b": [1]}'}


@pytest.mark.parametrize(
    ("errors", "problems"),
    [
        pytest.param(
            {"object": "list", "data": [{"code": "c", "message": "m", "line": 3, "param": "p"}]},
            (BatchProblem("m", "c", 3, "p"),),
            id="openai",
        ),
        pytest.param([{"message": "m", "line": "3"}], (BatchProblem("m", line=3),), id="bare-list"),
        pytest.param({"data": [{}]}, (BatchProblem("no message"),), id="empty-entry"),
        pytest.param({"data": ["text", None]}, (), id="entries-that-are-none"),
        pytest.param({"data": None}, (), id="no-list"),
        pytest.param("boom", (), id="text"),
        pytest.param(None, (), id="null"),
    ],
)
def test_errors_of_all_shapes(errors: Any, problems: tuple[BatchProblem, ...]) -> None:
    """The list may stand alone, and entries may lack everything."""
    assert batch_from_wire({"id": "b", "errors": errors}).problems == problems


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param('Invalid body: {"messages": "the prompt"}', "Invalid body:", id="quotes-a-request"),
        pytest.param('{"messages": "the prompt"}', wording.HIDDEN, id="is-a-request"),
        pytest.param("x" * 10_000, "x" * (wording.MAX_MESSAGE - 1) + "…", id="long"),
        pytest.param("half \ud83d", "half ?", id="half-a-character"),
    ],
)
def test_errors_are_fit_for_a_log(message: str, shown: str) -> None:
    """They go into exceptions, logs and XCom, where requests do not belong."""
    (problem,) = batch_from_wire({"id": "b", "errors": [{"message": message, "code": "c" * 1000}]}).problems

    assert problem == BatchProblem(shown, "c" * wording.MAX_CODE)
