"""Results brought to storage: whole or not at all, as the service wrote them, whatever shape it gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.client.results import expected_bytes
from airflow_batch_provider.collection import collect_results, delete_files
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.exceptions import (
    ApiError,
    ApiStatusError,
    BatchFailedError,
    BatchNotEndedError,
    DownloadError,
    NotFoundError,
)
from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock
from tests.samples import create_batch

CONTENT = "GET /files/{id}/content"


class Bench:
    """A sandbox whose batches have ended as soon as they are asked for, and a client."""

    def __init__(self, server: SandboxServer, clock: FakeClock) -> None:
        self.server, self.clock = server, clock
        self.settings = ServiceSettings(base_url=server.url, max_retries=2)
        self.client = BatchClient(self.settings, sleep=lambda seconds: None)

    def ended(self, directives: str = "", *, requests: int = 40, model: str = "sandbox-echo") -> Batch:
        batch = create_batch(self.client, requests=requests, model=model, sandbox=directives)
        self.clock.advance(3600)
        return self.client.get_batch(batch.id)


@pytest.fixture
def bench() -> Iterator[Bench]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=1) as server:
        bench = Bench(server, clock)
        with bench.client:
            yield bench


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def rows_in(part: dict[str, Any]) -> list[dict[str, Any]]:
    content = Path(part["path"]).read_bytes()
    assert len(content) == part["bytes"]
    rows = [json.loads(line) for line in content.split(b"\n") if line.strip()]
    assert len(rows) == part["rows"]
    return rows


def test_output_and_errors_land_in_two_files_named_after_the_batch(bench: Bench, tmp_path: Path) -> None:
    """Every request is in one of two files, in a folder that is made; the report tells path, rows and bytes."""
    batch = bench.ended("fail_rows=0.25")
    folder = tmp_path / "labels" / "2026"
    results = collect_results(bench.client, batch, str(folder))
    assert results["status"] == "completed"
    assert results["output"]["path"] == f"{folder}/{batch.id}_output.jsonl"
    assert results["errors"]["path"] == f"{folder}/{batch.id}_errors.jsonl"
    ids = [row["custom_id"] for name in ("output", "errors") for row in rows_in(results[name])]
    assert sorted(ids) == sorted(f"row-{number}" for number in range(40))
    assert names(folder) == [f"{batch.id}_errors.jsonl", f"{batch.id}_output.jsonl"]
    assert json.loads(json.dumps(results)) == results


@pytest.mark.parametrize(
    ("directives", "model", "parts"),
    [
        pytest.param("", "sandbox-echo", ("output",), id="no-errors"),
        pytest.param("", "sandbox-fail-400", ("errors",), id="no-output"),
        pytest.param("zero_byte_error_file=true", "sandbox-echo", ("output",), id="error-file-of-no-bytes"),
        pytest.param("empty_error_id=true", "sandbox-echo", ("output",), id="error-id-is-an-empty-text"),
        pytest.param("missing_rows=1", "sandbox-echo", (), id="neither"),
    ],
)
def test_a_part_that_is_not_there_is_none(
    bench: Bench, tmp_path: Path, directives: str, model: str, parts: tuple[str, ...]
) -> None:
    """An absent file, an empty id and a file of no bytes are all the same: None, and no file."""
    batch = bench.ended(directives, model=model)
    results = collect_results(bench.client, batch, str(tmp_path))
    assert [name for name in ("output", "errors") if results[name]] == list(parts)
    assert names(tmp_path) == [f"{batch.id}_{name}.jsonl" for name in parts]


def test_an_empty_part_takes_an_older_file_of_its_name_away(bench: Bench, tmp_path: Path) -> None:
    """What the report calls absent is absent."""
    batch = bench.ended("zero_byte_error_file=true")
    (tmp_path / f"{batch.id}_errors.jsonl").write_bytes(b"{}\n")
    assert collect_results(bench.client, batch, str(tmp_path))["errors"] is None
    assert names(tmp_path) == [f"{batch.id}_output.jsonl"]


@pytest.mark.parametrize(
    ("directives", "status"),
    [
        pytest.param("expire_after=0.5", "expired", id="expired"),
        pytest.param("cancel_after=0.5", "cancelled", id="cancelled"),
    ],
)
def test_what_was_paid_for_lands(bench: Bench, tmp_path: Path, directives: str, status: str) -> None:
    """Expired and cancelled batches keep what was finished."""
    results = collect_results(bench.client, bench.ended(directives), str(tmp_path))
    assert results["status"] == status
    assert 0 < len([row for row in rows_in(results["output"]) if row["response"]]) < 40


def test_a_refused_batch_has_no_results(bench: Bench, tmp_path: Path) -> None:
    """A failed batch raises its reason and writes nothing."""
    with pytest.raises(BatchFailedError, match="failed at the service"):
        collect_results(bench.client, bench.ended("outcome=failed"), str(tmp_path))
    assert names(tmp_path) == []


def test_a_failed_batch_with_an_error_file_is_collected(bench: Bench, tmp_path: Path) -> None:
    """Some services put the reasons into an error file, which is then the result."""
    batch = bench.ended(model="sandbox-fail-400")
    failed = replace(batch, status=bench.ended("outcome=failed").status)
    results = collect_results(bench.client, failed, str(tmp_path))
    assert (results["status"], results["errors"]["rows"]) == ("failed", 40)


def test_a_batch_that_runs_has_no_results_yet(bench: Bench, tmp_path: Path) -> None:
    """Partial results are never taken for the whole."""
    with pytest.raises(BatchNotEndedError, match="BatchSensor"):
        collect_results(bench.client, create_batch(bench.client), str(tmp_path))
    assert bench.server.calls[CONTENT] == 0


DAMAGE = [
    pytest.param("truncate", {}, id="cut-off"),
    pytest.param("truncate", {"chunked": True}, id="cut-off-chunked"),
    pytest.param("truncate", {"silent": True}, id="short-in-silence"),
    pytest.param("truncate", {"silent": True, "at": 0.0}, id="empty-in-silence"),
    pytest.param("corrupt", {}, id="corrupt"),
    pytest.param("drop", {}, id="dropped"),
    pytest.param("status", {"status": 503}, id="503"),
]


@pytest.mark.parametrize(("kind", "options"), DAMAGE)
def test_a_damaged_download_is_repeated(bench: Bench, tmp_path: Path, kind: Any, options: dict[str, Any]) -> None:
    """One broken transfer costs a repetition, and the file is whole."""
    batch = bench.ended()
    bench.server.faults.add(CONTENT, kind, times=1, **options)
    results = collect_results(bench.client, batch, str(tmp_path))
    assert len({row["custom_id"] for row in rows_in(results["output"])}) == 40
    assert bench.server.calls[CONTENT] == 2
    assert names(tmp_path) == [f"{batch.id}_output.jsonl"]


@pytest.mark.parametrize(
    ("kind", "options", "has_sizes"),
    [
        pytest.param(*case.values, has_sizes, id=f"{case.id}-{'size-known' if has_sizes else 'size-unknown'}")
        for case in DAMAGE
        for has_sizes in (True, False)
        if has_sizes or case.id != "empty-in-silence"  # an empty file of unknown size is an empty file
    ],
)
def test_a_download_that_stays_damaged_leaves_nothing(
    bench: Bench, tmp_path: Path, kind: Any, options: dict[str, Any], has_sizes: bool
) -> None:
    """No attempt leaves a file or a piece of one, and an older whole file stays."""
    batch = bench.ended()
    (tmp_path / f"{batch.id}_output.jsonl").write_bytes(b'{"from": "an earlier attempt"}\n')
    bench.server.faults.add(CONTENT, kind, **options)
    if not has_sizes:
        bench.server.faults.add("GET /files/{id}", "status", status=404)
    with pytest.raises(ApiError) as caught:
        collect_results(bench.client, batch, str(tmp_path))
    assert caught.value.retryable
    assert bench.server.calls[CONTENT] == 3
    assert names(tmp_path) == [f"{batch.id}_output.jsonl"]
    assert (tmp_path / f"{batch.id}_output.jsonl").read_bytes() == b'{"from": "an earlier attempt"}\n'


def test_wrong_sizes_are_believed_until_switched_off(bench: Bench, tmp_path: Path) -> None:
    """A service that reports wrong sizes fails with the remedy in the text, and works with the check off."""
    batch = bench.ended()
    bench.server.faults.add("GET /files/{id}", "status", status=200, body={"id": batch.output_file_id, "bytes": 7})
    with pytest.raises(DownloadError, match='switch off "Check file sizes"'):
        collect_results(bench.client, batch, str(tmp_path))
    assert names(tmp_path) == []
    trusting = replace(bench.settings, check_file_sizes=False)
    with BatchClient(trusting) as client:
        assert collect_results(client, batch, str(tmp_path))["output"]["rows"] == 40


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param({"bytes": 12}, 12, id="number"),
        pytest.param({"bytes": "12"}, 12, id="text"),
        pytest.param({"bytes": 0}, None, id="zero"),
        pytest.param({}, None, id="absent"),
        pytest.param({"bytes": None}, None, id="null"),
    ],
)
def test_sizes_are_used_as_far_as_they_are_told(bench: Bench, told: dict[str, Any], expected: int | None) -> None:
    """A size that a service does not know is not checked."""
    bench.server.faults.add("GET /files/{id}", "status", status=200, body={"id": "file-1", **told})
    assert expected_bytes(bench.client, "file-1") == expected


def test_deleting_twice_deletes_once(bench: Bench) -> None:
    """Files that are gone count as deleted, so that a retry does no harm."""
    batch = bench.ended("fail_rows=0.5")
    assert len(batch.file_ids) == 3
    assert delete_files(bench.client, batch.file_ids) == list(batch.file_ids)
    assert bench.server.files() == []
    assert delete_files(bench.client, batch.file_ids) == list(batch.file_ids)


def test_a_delete_that_is_denied_is_not_reported_as_done(bench: Bench) -> None:
    """A service that says "deleted: false" is taken at its word, and a refusal is raised."""
    bench.server.faults.add("DELETE /files/{id}", "status", status=200, body={"deleted": False}, times=1)
    assert delete_files(bench.client, ["file-1"]) == []
    bench.server.faults.add("DELETE /files/{id}", "status", status=403)
    with pytest.raises(ApiStatusError) as caught:
        delete_files(bench.client, ["file-1"])
    assert not isinstance(caught.value, NotFoundError)
