from __future__ import annotations

import json

import pytest

from airflow_batch_provider.core.batches import BatchProblem, RequestCounts
from airflow_batch_provider.core.status import BatchStatus
from tests.core.support import batch


def test_counts_say_what_is_done() -> None:
    """Done is what succeeded and what failed."""
    assert RequestCounts(10, 3, 2).done == 5


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (BatchProblem("no such model", "invalid_model", 3, "model"), "invalid_model: no such model (line 3)"),
        (BatchProblem("no such model", "invalid_model"), "invalid_model: no such model"),
        (BatchProblem("bad", line=0), "bad (line 0)"),
        (BatchProblem("bad"), "bad"),
    ],
)
def test_a_problem_reads_as_one_sentence(problem: BatchProblem, text: str) -> None:
    """Code and line are named where the service gives them."""
    assert str(problem) == text


def test_file_ids_are_all_files_once() -> None:
    """Input, output and errors, without what is absent or named twice."""
    found = batch(input_file_id="file-1", output_file_id="file-2", error_file_id="file-1")

    assert found.file_ids == ("file-1", "file-2")
    assert batch().file_ids == ()


def test_a_batch_goes_into_xcom_as_plain_json() -> None:
    """Times are ISO text, the status is normalised, counts are numbers."""
    found = batch(
        status=BatchStatus.COMPLETED,
        raw_status="Completed",
        counts=(3, 2, 1),
        created_at=0.0,
        problems=(BatchProblem("bad", "code", 1, "url"),),
        metadata={"team": "search"},
        extra={"model": object()},
    )

    assert json.loads(json.dumps(found.to_dict())) == {
        "id": "batch_1",
        "status": "completed",
        "endpoint": None,
        "input_file_id": None,
        "output_file_id": None,
        "error_file_id": None,
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
        "problems": [{"code": "code", "message": "bad", "line": 1, "param": "url"}],
        "metadata": {"team": "search"},
        "created_at": "1970-01-01T00:00:00Z",
        "in_progress_at": None,
        "ended_at": None,
        "expires_at": None,
    }


def test_unreported_counts_and_metadata_stay_null() -> None:
    """XCom shows that the service did not tell, instead of zeros."""
    found = batch().to_dict()

    assert found["request_counts"] is None
    assert found["metadata"] is None
