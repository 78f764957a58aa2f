"""Operators that move files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.exceptions import BatchNotEndedError, ConfigurationError, InputError
from airflow_batch_provider.operators.batch import (
    DeleteBatchFilesOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)
from airflow_batch_provider.sandbox import SandboxServer
from tests.contexts import FakeTaskInstance, task_context
from tests.samples import create_batch, jsonl, request
from tests.waits import ended


def test_upload_returns_the_file_id(client: BatchClient, tmp_path: Path) -> None:
    """A good file is uploaded as it is, under its own name."""
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(jsonl([request(1), request(2)]))

    file_id = UploadBatchFileOperator(task_id="upload", path=str(path)).execute(task_context())

    assert client.get_file(file_id).filename == "prompts.jsonl"
    assert client.get_file(file_id).bytes == path.stat().st_size


def test_upload_of_bad_input_sends_nothing_and_is_not_retried(
    client: BatchClient, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """Bad lines fail the task for good, with line and field, before anything is sent."""
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(jsonl([request(1), request(2, custom_id="row-1"), request(3, url="/v1/embeddings")]))

    with pytest.raises(InputError, match="prompts.jsonl has 2 problems in 3 lines; nothing was sent") as caught:
        UploadBatchFileOperator(task_id="upload", path=str(path)).execute(task_context())

    assert isinstance(caught.value, AirflowFailException)
    assert 'line 2: custom_id "row-1" was already used in line 1' in str(caught.value)
    assert 'line 3: "url" is "/v1/embeddings" but the batch is for "/v1/chat/completions"' in str(caught.value)
    assert [(p[0], p[3]) for p in caught.value.problems] == [(2, "custom_id"), (3, "url")]
    assert sandbox.files() == []


def test_upload_holds_the_file_to_the_endpoint(client: BatchClient, tmp_path: Path) -> None:
    """A named endpoint is the one every line must be for, the first one too."""
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(jsonl([request(1)]))

    with pytest.raises(
        InputError, match='line 1: "url" is "/v1/chat/completions" but the batch is for "/v1/responses"'
    ):
        UploadBatchFileOperator(task_id="upload", path=str(path), endpoint="/v1/responses").execute(task_context())


def test_download_returns_paths_rows_and_bytes(client: BatchClient, tmp_path: Path) -> None:
    """Output and error file land in the folder, counted; together they hold every row."""
    batch = ended(client, create_batch(client, requests=10, sandbox="fail_rows=0.2"))

    results = DownloadBatchResultsOperator(
        task_id="pull", batch_id=batch.id, output_path=str(tmp_path / "new" / "folder")
    ).execute(task_context())

    assert (results["output"]["rows"], results["errors"]["rows"], results["status"]) == (8, 2, "completed")
    lines = [
        json.loads(line)
        for part in ("output", "errors")
        for line in Path(results[part]["path"]).read_text().splitlines()
    ]
    assert {line["custom_id"] for line in lines} == {f"row-{n}" for n in range(10)}
    assert results["output"]["bytes"] == Path(results["output"]["path"]).stat().st_size


def test_download_of_a_clean_batch_has_no_errors_part(client: BatchClient, tmp_path: Path) -> None:
    """A file the service does not have is None in the answer, and no file on storage."""
    batch = ended(client, create_batch(client))

    results = DownloadBatchResultsOperator(task_id="pull", batch_id=batch.id, output_path=f"{tmp_path}/").execute(
        task_context()
    )

    assert results["errors"] is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{batch.id}_output.jsonl"]


def test_download_before_the_end_can_be_retried(client: BatchClient, tmp_path: Path) -> None:
    """Results of a running batch are not there yet: an error that says so, and that a retry may overcome."""
    batch = create_batch(client, sandbox="stall=true")

    with pytest.raises(BatchNotEndedError, match="BatchSensor") as caught:
        DownloadBatchResultsOperator(task_id="pull", batch_id=batch.id, output_path=str(tmp_path)).execute(
            task_context()
        )

    assert not isinstance(caught.value, AirflowFailException)


def test_delete_removes_the_batch_files_and_can_be_repeated(client: BatchClient, sandbox: SandboxServer) -> None:
    """Input, output and error files go; a second try finds nothing to do and succeeds."""
    batch = ended(client, create_batch(client, requests=10, sandbox="fail_rows=0.5"))
    stranger = create_batch(client, sandbox="stall=true")
    tidy = DeleteBatchFilesOperator(task_id="tidy", batch_id=batch.id)

    first = tidy.execute(task_context())
    second = tidy.execute(task_context())

    assert set(first) == set(second) == set(batch.file_ids)
    assert len(batch.file_ids) == 3
    assert [file["id"] for file in sandbox.files()] == [stranger.input_file_id]


def test_delete_leaves_a_running_batch_its_files(client: BatchClient, sandbox: SandboxServer) -> None:
    """A batch that still reads its input keeps it."""
    batch = create_batch(client, sandbox="stall=true")

    with pytest.raises(BatchNotEndedError):
        DeleteBatchFilesOperator(task_id="tidy", batch_id=batch.id).execute(task_context())

    assert len(sandbox.files()) == 1


@pytest.mark.parametrize(
    "targets", [pytest.param({}, id="neither"), pytest.param({"batch_id": "b", "file_ids": ["f"]}, id="both")]
)
def test_delete_wants_one_kind_of_target(client: BatchClient, targets: dict[str, Any]) -> None:
    """Neither target, or both, is a mistake in the DAG and said so."""
    with pytest.raises(ConfigurationError, match="either `batch_id` or `file_ids`"):
        DeleteBatchFilesOperator(task_id="tidy", **targets).execute(task_context())


def test_delete_takes_file_ids(client: BatchClient, sandbox: SandboxServer) -> None:
    """Files can be named directly."""
    batch = ended(client, create_batch(client))

    gone = DeleteBatchFilesOperator(task_id="tidy", file_ids=[str(batch.input_file_id)]).execute(task_context())

    assert gone == [batch.input_file_id]
    assert len(sandbox.files()) == 1


def test_link_points_to_the_console(client: BatchClient, tmp_path: Path) -> None:
    """The connection's console URL becomes the task's link, stored where the UI reads it."""
    batch = ended(client, create_batch(client))
    ti = FakeTaskInstance()
    pull = DownloadBatchResultsOperator(task_id="pull", batch_id=batch.id, output_path=str(tmp_path))

    pull.execute(task_context(ti))

    url = f"https://console.example/batches/{batch.id}?tab=1"
    assert ti.xcoms["_link_BatchLink"] == ti.xcoms["batch_url"] == url
    assert pull.operator_extra_links[0].get_link(pull, ti_key=None) == url
