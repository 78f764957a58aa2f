"""Rounds: only what failed for a passing reason goes again, what was paid for is kept, and nothing is left behind."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import BatchFailedError, SupersededError
from airflow_batch_provider.joining.joiners import Joiners
from airflow_batch_provider.landing import land
from airflow_batch_provider.runner import Finished, Waiting
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.storage.landed import landed_files
from airflow_batch_provider.storage.shards import RunFolder
from tests.fakes import FakeClock, WorkerCrash
from tests.runner.support import Desk
from tests.samples import ENDPOINT

ECHO, REFUSED, LIMITED, BROKEN = "sandbox-echo", "sandbox-fail-400", "sandbox-fail-429", "sandbox-fail-500"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=8) as server:
        desk = Desk(server, clock, tmp_path)
        desk.write(ECHO, ECHO, ECHO, ECHO)
        yield desk


def steered(directives: str) -> dict[str, str]:
    return {"sandbox": directives}


def finish_with(desk: Desk, first_round: str, later: str = "") -> dict[str, Any]:
    """Run to the end; the batches of the first round are steered in another way than the later ones."""
    desk.advance(metadata=steered(first_round))
    desk.clock.advance(60)
    return desk.finish(resumes=True, metadata=steered(later))


def custom_ids(desk: Desk) -> list[list[str]]:
    """What went into each batch, by the uploads' order of creation."""
    shards = sorted((desk.output / "_run" / "shards").glob("*.jsonl"))
    return [[json.loads(line)["custom_id"] for line in shard.read_bytes().splitlines()] for shard in shards]


def test_the_summary_tells_how_far_the_run_is(desk: Desk) -> None:
    """While it waits, and in the end how it ended: whoever finds the file knows which by its status."""
    desk.write(ECHO, ECHO, LIMITED, ECHO)
    found = []
    for attempt in range(20):
        step = desk.advance(resumes=attempt > 0)
        summary = json.loads((desk.output / "summary.json").read_bytes())
        if isinstance(step, Finished):
            break
        done = summary["progress"]["done"], summary["progress"]["failed"], summary["progress"]["total"]
        found.append((summary["status"], summary["rounds"], *summary["shards"].values(), *done))
        desk.clock.advance(60)

    assert found[0] == ("running", 1, 2, 2, 0, 0, 0, 4)
    assert found[-1] == ("running", 2, 3, 3, 2, 3, 0, 4)
    assert (summary["status"], summary["rounds"]) == ("completed", 2)


def test_a_store_that_fails_stops_no_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The summary is for people: while it cannot be written the batches are waited for all the same."""

    class StoreError(Exception):
        """Of a kind of its own, as object stores have them."""

    def fail(*args: object, **how: object) -> None:
        raise StoreError("no route")

    real = RunFolder.save_json

    def fail_summary(folder: RunFolder, path: str, *args: Any, **how: Any) -> None:
        (fail if path == folder.summary else real)(folder, path, *args, **how)

    monkeypatch.setattr(RunFolder, "save_json", fail_summary)
    with desk.worker() as run:
        assert isinstance(run.advance(), Waiting)

    assert "summary.json could not be brought up to date (StoreError)" in caplog.text


def test_a_try_that_was_superseded_hears_of_it_while_it_waits(desk: Desk) -> None:
    """It must not write over its successor's summary, and need not wait on."""
    with desk.worker() as run:
        run.advance()
        desk.advance("2")
        with pytest.raises(SupersededError):
            run.tell([])


def test_the_log_tells_of_each_shard(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What a person follows: sent, landed, round; each shard by its number."""
    desk.write(ECHO, REFUSED, ECHO)
    with caplog.at_level(logging.INFO):
        summary = desk.finish()

    first, second = summary["batch_ids"]
    said = [record.message for record in caplog.records if record.message.startswith(("Shard", "Round"))]
    assert [re.sub(r"file-\w+ \(0.0 MB in \d+\.\d s\)", "FILE", line) for line in said] == [
        f"Shard 1/2: uploaded FILE, batch {first} created.",
        f"Shard 2/2: uploaded FILE, batch {second} created.",
        "Shard 1/2 has landed: 1 succeeded, 1 failed (1x 400 invalid_request).",
        "Shard 2/2 has landed: 1 succeeded.",
        "Round 0: 2 succeeded, 1 failed (1x 400 invalid_request).",
    ]


class Chatty(httpx.HTTPTransport):
    """A network on which each output file has its first line twice, and one that nobody asked for."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if not request.url.path.endswith("/content"):
            return response
        lines = response.read().splitlines(keepends=True)
        lines += [lines[0], re.sub(rb'"row-\d+"', b'"nobody"', lines[0])]
        return httpx.Response(200, content=b"".join(lines))


def test_lines_for_nobody_are_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A service that answers twice, or what nobody asked, gives no more rows; log and summary say how often it did."""
    desk.server.faults.add("GET /files/{id}", "status", status=404)  # a service that does not know sizes

    summary = desk.finish(network=Chatty(verify=False))

    assert desk.outcomes() == ["succeeded"] * 4
    assert summary["unused_lines"] == {"duplicates": 2, "strangers": 2}
    assert "had 1 more lines for requests that have their answer, and 1 for none of its requests" in caplog.text


def test_only_requests_that_may_end_better_go_again(desk: Desk) -> None:
    """429 and 500 go again, 400 and successes do not; each row tells the round that decided."""
    desk.write(ECHO, LIMITED, REFUSED, BROKEN)

    summary = desk.finish(keep_run_files=True)

    assert custom_ids(desk) == [["row-0", "row-1"], ["row-2", "row-3"], ["row-1", "row-3"]]
    assert [(row["outcome"], row["round"]) for row in desk.rows()] == [
        ("succeeded", 0), ("failed", 1), ("failed", 0), ("failed", 1),
    ]  # fmt: skip
    assert summary["rounds"] == 2
    assert summary["outcomes"] == {
        "succeeded": 1, "failed": 3, "invalid": 0, "expired": 0, "cancelled": 0, "missing": 0,
    }  # fmt: skip


@pytest.mark.parametrize("max_rounds", [1, 2, 4])
def test_rounds_end_at_max_rounds(desk: Desk, max_rounds: int) -> None:
    """What always fails is sent ``max_rounds`` times and no more."""
    desk.write(LIMITED)

    summary = desk.finish(max_rounds=max_rounds)

    assert summary["rounds"] == max_rounds == len(desk.batches())
    assert desk.rows()[0]["round"] == max_rounds - 1


def test_a_clean_first_round_is_the_only_one(desk: Desk) -> None:
    """When nothing is open there is no further round, and no file of failures."""
    summary = desk.finish(max_rounds=5)

    assert (summary["rounds"], summary["batches"], summary["failures"]) == (1, 2, None)
    assert not (desk.output / "failures.jsonl").exists()


def test_failures_are_an_input_again(desk: Desk) -> None:
    """``failures.jsonl`` holds the requests as they came, and a later run takes it as it is."""
    desk.write(ECHO, LIMITED, REFUSED, ECHO)
    summary = desk.finish()
    wrong = [json.loads(line) for line in desk.input.read_bytes().splitlines()][1:3]
    assert [json.loads(line) for line in Path(summary["failures"]).read_bytes().splitlines()] == wrong

    later = Desk(desk.server, desk.clock, desk.folder / "later", options={"input": summary["failures"]})
    second = later.finish()

    assert second["requests"] == 2
    assert [row["custom_id"] for row in later.rows()] == ["row-1", "row-2"]


@pytest.mark.parametrize(
    ("directives", "outcome"),
    [
        pytest.param("expire_after=0.5", "expired", id="expired"),
        pytest.param("cancel_after=0.5", "cancelled", id="cancelled-by-the-service"),
        pytest.param("missing_rows=0.5", "missing", id="missing"),
    ],
)
def test_what_was_paid_for_lands_and_the_rest_goes_again(desk: Desk, directives: str, outcome: str) -> None:
    """An end before the end keeps its finished rows; only the others are sent once more."""
    desk.write(ECHO, ECHO)

    summary = finish_with(desk, directives)

    assert desk.outcomes() == ["succeeded"] * 2
    assert sorted(row["round"] for row in desk.rows()) == [0, 1]
    assert summary["outcomes"]["succeeded"] == 2
    assert sum(batch["request_counts"]["total"] for batch in desk.batches()) == 3


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_rows_that_stay_open_are_named_for_what_they_are(desk: Desk, outcome: str) -> None:
    """After the last round an unfinished row is expired or cancelled, and among the failures."""
    desk.write(ECHO, ECHO)

    summary = desk.finish(max_rounds=1, metadata=steered(f"outcome={outcome}"))

    assert sorted(desk.outcomes()) == [outcome, "succeeded"]
    assert summary["outcomes"][outcome] == 1
    assert len(Path(summary["failures"]).read_bytes().splitlines()) == 1


def test_one_refused_batch_of_several_fails_its_rows_only(desk: Desk) -> None:
    """A shard that the service refuses at validation does not stop the others, and does not go again."""
    desk.write(ECHO, ECHO, "sandbox-missing-model", ECHO, ECHO)

    summary = desk.finish()

    assert desk.outcomes() == ["succeeded", "succeeded", "failed", "failed", "succeeded"]
    assert {row["error"]["code"] for row in desk.rows() if row["error"]} == {"invalid_model"}
    assert (summary["batches"], summary["rounds"]) == (3, 1)
    assert desk.server.files() == []


def test_a_refused_batch_has_no_rows_to_fetch_whatever_files_it_names(tmp_path: Path) -> None:
    """Behind a gateway a refused batch names its output folder all the same; the service is not asked for rows."""

    def refuse(call: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{call.method} {call.url.path} was called")

    folder, piece = RunFolder(str(tmp_path)), Piece(0, 0, 0, ENDPOINT, 1, 1, 0)
    (tmp_path / "_run" / "shards").mkdir(parents=True)
    Path(folder.shard(piece)).write_bytes(b'{"custom_id":"row-0"}\n')
    batch = Batch(id="arn", status=BatchStatus.FAILED, output_file_id="s3%3A%2F%2Fbucket%2Ffolder")
    settings = ServiceSettings(base_url="http://service.test/v1", results_from="output")

    with BatchClient(settings, transport=httpx.MockTransport(refuse)) as client:
        slot = landed_files(folder).slot(piece)
        land(client, folder, piece, batch, slot, joiners=Joiners(1), can_go_again=True).note_in(piece)

    assert (piece.counts, piece.open) == ({"failed": 1}, 0)


def test_a_run_that_is_refused_as_a_whole_says_why(desk: Desk) -> None:
    """Nothing ran: the service's reason is the error, a later try asks the service again, and no upload stays."""
    desk.write("sandbox-missing-model", ECHO, "sandbox-missing-model")

    with pytest.raises(BatchFailedError, match="invalid_model.*Nothing ran and nothing is billed") as caught:
        desk.finish()
    with pytest.raises(BatchFailedError):
        desk.finish("2")

    assert not caught.value.retryable
    assert len(desk.batches()) == 4
    assert desk.server.files() == []


def test_a_run_goes_on_when_the_service_no_longer_refuses_it(desk: Desk) -> None:
    """Access was granted, a bill was paid: the input is the same, and a person who clears the task means "try again"."""
    desk.write(ECHO, ECHO)
    with pytest.raises(BatchFailedError):
        desk.finish(metadata=steered("outcome=failed"))

    summary = desk.finish("2")

    assert summary["outcomes"]["succeeded"] == summary["requests"] == 2


def test_a_corrected_input_runs_after_a_refusal(desk: Desk) -> None:
    """Nothing ran and nothing is billed, so an input that was put right is planned anew without being asked for."""
    desk.write("sandbox-missing-model")
    with pytest.raises(BatchFailedError):
        desk.finish()
    desk.write(ECHO, ECHO)

    summary = desk.finish("2")

    assert summary["outcomes"]["succeeded"] == summary["requests"] == 2


def test_the_service_is_left_as_it_was(desk: Desk) -> None:
    """Files of all rounds are deleted, also of refused, expired and retried batches, and nobody else's."""
    desk.write(ECHO, LIMITED, "sandbox-missing-model", ECHO, BROKEN, REFUSED)
    with desk.worker() as run:
        client = run._client
        foreign = [
            client.upload_file(Upload(lambda: io.BytesIO(b"{}\n"), 3, name)).id for name in ("a.jsonl", "0.jsonl")
        ]
        body = {"input_file_id": foreign[0], "endpoint": ENDPOINT, "completion_window": "24h"}
        client.create_batch(body)

    desk.finish()

    assert [file["id"] for file in desk.server.files()] == foreign


def test_files_at_the_service_can_be_kept(desk: Desk) -> None:
    """With ``delete_remote_files=False`` inputs and outputs stay."""
    desk.finish(delete_remote_files=False)

    assert sorted(file["purpose"] for file in desk.server.files()) == ["batch"] * 2 + ["batch_output"] * 2
    assert desk.server.calls["DELETE /files/{id}"] == 0


def test_a_file_that_cannot_be_deleted_does_not_fail_the_run(desk: Desk) -> None:
    """The results are safe; what stays at the service is untidy, not wrong."""
    desk.server.faults.add("DELETE /files/{id}", "status", status=403)

    desk.finish()

    assert desk.outcomes() == ["succeeded"] * 4


@pytest.mark.parametrize(
    ("options", "is_kept"),
    [pytest.param({}, False, id="default"), pytest.param({"keep_run_files": True}, True, id="kept")],
)
def test_run_files_go_unless_they_are_kept(desk: Desk, options: dict[str, Any], is_kept: bool) -> None:
    """After success journal and summary stay; shards and landed rows only when asked, also when a reuse comes by."""
    desk.finish(**options)
    desk.finish("2", **options)

    assert bool(desk.left_behind()) is is_kept
    assert (desk.output / "_run" / "shards").exists() is is_kept
    assert desk.journal_path.exists()
    assert (desk.output / "summary.json").exists()


def test_results_are_written_in_input_order_whatever_the_groups(desk: Desk) -> None:
    """Requests of two endpoints and two rounds, mixed in the input, come back in its order."""
    chat = [json.loads(line) for line in desk.input.read_bytes().splitlines()]
    embeddings = [
        each
        | {"custom_id": f"vector-{n}", "url": "/v1/embeddings", "body": {"model": "sandbox-embedding", "input": "x"}}
        for n, each in enumerate(chat)
    ]
    mixed = [each for pair in zip(chat, embeddings, strict=True) for each in pair]
    desk.input.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in mixed))

    finish_with(desk, "fail_rows=0.5 fail_code=503")

    assert [row["custom_id"] for row in desk.rows()] == [each["custom_id"] for each in mixed]
    assert [row["index"] for row in desk.rows()] == list(range(8))
    assert desk.outcomes() == ["succeeded"] * 8


def test_a_crash_between_rounds_plans_the_round_once(desk: Desk) -> None:
    """A worker dies when the next round is written but not noted: the same round is written again."""
    desk.write(ECHO, LIMITED)
    desk.advance()
    desk.clock.advance(60)

    def probe(point: str) -> None:
        if point == "before POST /files":
            raise WorkerCrash(point)

    with pytest.raises(WorkerCrash):
        desk.advance(resumes=True, probe=probe)
    desk.finish("2")

    assert len(desk.batches()) == 2
