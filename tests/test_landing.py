"""Bringing a piece's results home: any files a service may have, from a real client to the file of ordered rows."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import airflow_batch_provider.joining.joiners
from airflow_batch_provider.client import BatchClient, ServiceSettings
from airflow_batch_provider.core.batches import Batch, BatchProblem
from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.tally import Tally
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import here
from airflow_batch_provider.joining.helper import Helper
from airflow_batch_provider.joining.joiners import Joiners
from airflow_batch_provider.landing import Landed, Landings, land
from airflow_batch_provider.storage.blocks import read_blocks
from airflow_batch_provider.storage.landed import LandedFiles, Slot, landed_files
from airflow_batch_provider.storage.shards import RunFolder
from tests.core.support import CHAT, line
from tests.core.test_joining import Report, encode, failure, reports, success

COMPLETED = Batch("batch_1", BatchStatus.COMPLETED)


class Files:
    """A service that has only files, as an ``httpx.MockTransport`` handler."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name, _, route = request.url.path.removeprefix("/v1/files/").partition("/")
        if name not in self.contents:
            return httpx.Response(404, json={"error": {"message": "No such file"}})
        content = self.contents[name]
        return httpx.Response(200, content=content) if route else httpx.Response(200, json=self.about(name, content))

    def about(self, name: str, content: bytes) -> dict[str, Any]:
        return {"id": name, "object": "file", "bytes": len(content)}

    def client(self) -> BatchClient:
        settings = ServiceSettings(base_url="http://service.test/v1", max_retries=1)
        return BatchClient(settings, transport=httpx.MockTransport(self), sleep=lambda seconds: None)


class Desk:
    """A run's folder with one piece that was sent, and who joins what comes back."""

    def __init__(self, root: Path, ids: list[str], joiners: Joiners, *, first_index: int | None = 0) -> None:
        self.folder = RunFolder(str(root))
        self.joiners = joiners
        self.piece = Piece(0, 0, 0, CHAT, len(ids), 0, first_index)
        path = Path(self.folder.shard(self.piece))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(map(line, ids)))

    def land(self, files: Files, batch: Batch, *, can_go_again: bool = False) -> list[dict[str, Any]]:
        with files.client() as client:
            self.land_from(client, batch, can_go_again=can_go_again)
        return self.rows()

    def land_from(self, client: BatchClient, batch: Batch, *, can_go_again: bool = True) -> Landed:
        files = landed_files(self.folder)
        slot = files.slot(self.piece)
        try:
            landed = land(client, self.folder, self.piece, batch, slot, joiners=self.joiners, can_go_again=can_go_again)
        finally:
            slot.close()
            files.close()
        landed.note_in(self.piece)
        return landed

    def rows(self) -> list[dict[str, Any]]:
        lines = [line for block in read_blocks(self.folder.landed(self.piece)) for line in block]
        return [json.loads(row, parse_constant=pytest.fail) for row in lines]

    def open(self) -> list[int]:
        return (
            list(self.folder.load_positions(self.folder.opened(self.piece, self.piece.landed_file)))
            if self.piece.open
            else []
        )

    def written(self) -> list[str]:
        return sorted(path.name for path in Path(self.folder.output).rglob("*") if path.is_file())


@pytest.fixture(params=["here", "helper"])
def joiners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Joiners]:
    """Give those who join: all that is true of landing is true of both."""
    monkeypatch.setattr(airflow_batch_provider.joining.joiners, "_cores", lambda: 2)
    monkeypatch.setattr(airflow_batch_provider.joining.joiners, "MIN_HELPED_REQUESTS", 1)
    with Joiners(1 if request.param == "here" else 2) as started:
        yield started


@pytest.fixture
def desk(tmp_path: Path, joiners: Joiners) -> Desk:
    return Desk(tmp_path, ["a", "b", "c"], joiners)


def with_files(**changes: Any) -> Batch:
    return Batch(
        "batch_1", **{"status": BatchStatus.COMPLETED, "output_file_id": "out", "error_file_id": "err"} | changes
    )


ENDS = [BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED, BatchStatus.FAILED]


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(
    reports(),
    st.booleans(),
    st.sampled_from(ENDS),
    st.sampled_from(["both", "output", "errors", "neither"]),
    st.booleans(),
)
def test_whatever_comes_back_every_request_has_one_row(
    tmp_path_factory: pytest.TempPathFactory,
    report: Report,
    can_go_again: bool,
    status: BatchStatus,
    has: str,
    is_consecutive: bool,
) -> None:
    """Both files, one or none, empty or full of oddities: one row per request in order, and counts that reconcile."""
    ids, output, errors, _, _ = report
    contents = {"out": b"".join(output), "err": b"".join(errors).rstrip(b"\r\n")}
    ids_of_files = {"output_file_id": "out" if has in ("both", "output") else None,
                    "error_file_id": "err" if has in ("both", "errors") else None}  # fmt: skip
    desk = Desk(tmp_path_factory.mktemp("run"), ids, Joiners(1), first_index=5 if is_consecutive else None)
    indices = list(range(5, 5 + len(ids))) if is_consecutive else [7 * n + 3 for n in range(len(ids))]
    if not is_consecutive:
        desk.folder.save_positions(desk.folder.shard(desk.piece), indices)

    rows = desk.land(Files(**contents), with_files(status=status, **ids_of_files), can_go_again=can_go_again)

    assert [(row["index"], row["custom_id"]) for row in rows] == list(zip(indices, ids, strict=True))
    final = Counter(row["outcome"] for position, row in enumerate(rows) if position not in desk.open())
    assert desk.piece.counts == final
    assert sum(desk.piece.counts.values()) + desk.piece.open == len(ids)
    assert desk.piece.open == len(desk.open())
    assert desk.piece.status == status.value
    assert {row["batch_id"] for row in rows} == {"batch_1"}


@pytest.mark.parametrize(
    ("status", "outcome", "is_open"),
    [
        pytest.param(BatchStatus.COMPLETED, "missing", True, id="completed"),
        pytest.param(BatchStatus.EXPIRED, "expired", True, id="expired"),
        pytest.param(BatchStatus.CANCELLED, "cancelled", True, id="cancelled"),
        pytest.param(BatchStatus.IN_PROGRESS, "missing", True, id="given-up"),
        pytest.param(BatchStatus.FAILED, "failed", False, id="refused"),
    ],
)
def test_requests_nobody_tells_of_end_like_their_batch(
    desk: Desk, status: BatchStatus, outcome: str, is_open: bool
) -> None:
    """Without any file every request still has its row, and goes again unless the service refused the batch."""
    batch = Batch("batch_1", status, problems=(BatchProblem("no such model", "invalid_model"),))
    rows = desk.land(Files(), batch, can_go_again=True)

    assert [row["outcome"] for row in rows] == [outcome] * 3
    assert desk.open() == ([0, 1, 2] if is_open else [])
    if not is_open:
        assert rows[0]["error"] == {"code": "invalid_model", "message": "no such model"}


def test_an_expired_batch_lands_what_was_paid_for(desk: Desk) -> None:
    """Finished rows of a batch that did not get through are kept, the others are expired."""
    expired = {"custom_id": "b", "response": None, "error": {"code": "batch_expired", "message": "."}}
    files = Files(out=encode(success("c")), err=encode(expired))

    rows = desk.land(files, with_files(status=BatchStatus.EXPIRED), can_go_again=True)

    assert [row["outcome"] for row in rows] == ["expired", "expired", "succeeded"]
    assert (desk.piece.counts, desk.open()) == ({"succeeded": 1}, [0, 1])


def test_landing_again_is_landing_once(desk: Desk) -> None:
    """A try that died after landing does no harm: the next one writes and counts the same."""
    files = Files(out=encode(success("c")) + encode(success("a")), err=encode(failure("b", 429)))
    first = desk.land(files, with_files(), can_go_again=True)
    before = (desk.piece.counts, desk.piece.open, desk.piece.input_tokens, desk.open())

    assert desk.land(files, with_files(), can_go_again=True) == first
    assert (desk.piece.counts, desk.piece.open, desk.piece.input_tokens, desk.open()) == before
    assert before == ({"succeeded": 2}, 1, 6, [1])


def test_a_late_try_changes_nothing_of_what_another_has_noted(desk: Desk) -> None:
    """A worker thought dead lands a piece once more, with another end: rows and open requests stay as they were noted."""
    noted_rows = desk.land(Files(out=encode(success("c")), err=b""), with_files(), can_go_again=True)
    noted, opened = replace(desk.piece), desk.open()

    desk.land(Files(out=encode(success("a")) + encode(success("b")), err=b""), with_files(), can_go_again=True)
    assert desk.open() == [2]
    desk.piece = noted

    assert (desk.rows(), desk.open()) == (noted_rows, opened)
    assert opened == [0, 1]


DAMAGED = [
    pytest.param(encode(success("a")) + encode(success("b"))[:-20] + b"\n" + encode(success("c")), id="cut"),
    pytest.param(encode(success("a")) + b"<html>\n" + encode(success("c")), id="html"),
    pytest.param(
        encode(success("a")) + encode(success("b", "x")).replace(b'"x"', b'"\xff"') + encode(success("c")),
        id="not-utf8",
    ),
    pytest.param(encode(success("a")) + b"[" * 9999 + b"\n" + encode(success("c")).rstrip(), id="deep"),
]


class Sizeless(Files):
    """A service that does not tell sizes."""

    def about(self, name: str, content: bytes) -> dict[str, Any]:
        return {"id": name, "object": "file"}


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_file_damaged_on_the_way_is_never_landed(desk: Desk, damaged: bytes) -> None:
    """Rows behind the damage would look missing and be paid again: landing fails, and a retry downloads anew."""
    with pytest.raises(DownloadError) as error:
        desk.land(Sizeless(out=damaged, err=b""), with_files())

    assert error.value.retryable
    assert desk.written() == ["0-00000.jsonl"]  # the shard alone


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_line_the_service_itself_spoilt_costs_only_its_row(desk: Desk, damaged: bytes) -> None:
    """A file of just the size the service says was written so: no download will be better, the other rows are paid."""
    rows = desk.land(Files(out=damaged, err=b""), with_files(), can_go_again=True)

    assert [row["outcome"] for row in rows] == ["succeeded", "missing", "succeeded"]
    assert (desk.piece.counts, desk.open()) == ({"succeeded": 2}, [1])


def test_a_short_file_is_never_landed(desk: Desk) -> None:
    """Also when it ends between two lines: the service's size tells."""

    class Short(Files):
        def about(self, name: str, content: bytes) -> dict[str, Any]:
            return super().about(name, content) | {"bytes": len(content) + 100}

    with pytest.raises(DownloadError, match="but the service says"):
        desk.land(Short(out=encode(success("a")), err=b""), with_files())


def test_a_file_that_is_named_and_not_there_fails_the_landing(desk: Desk) -> None:
    """Results the service has lost are not "no rows": those were paid for."""
    with pytest.raises(Exception, match="out"):
        desk.land(Files(err=b""), with_files())
    assert desk.written() == ["0-00000.jsonl"]


def routed(*bodies: bytes) -> tuple[BatchClient, list[int]]:
    """Give a gateway with the output route that brings one body after the other, the last for ever; and how many."""
    left, served = list(bodies), []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/batches/batch_1/output"
        served.append(len(left))
        return httpx.Response(200, content=left.pop(0) if len(left) > 1 else left[0])

    settings = ServiceSettings(base_url="http://service.test/v1", max_retries=1, results_from="output")
    return BatchClient(settings, transport=httpx.MockTransport(answer), sleep=lambda seconds: None), served


WHOLE = encode(success("a")) + encode(success("b")) + encode(success("c"))
SPOILT = encode(success("a")) + b"<html>\n" + encode(success("c"))


def test_a_line_the_output_route_always_spoils_costs_only_its_row(desk: Desk) -> None:
    """No size tells what the service wrote; a file that comes the same in every try will not come better."""
    client, served = routed(SPOILT)
    with client:
        desk.land_from(client, COMPLETED)

    assert [row["outcome"] for row in desk.rows()] == ["succeeded", "missing", "succeeded"]
    assert (desk.piece.counts, desk.open()) == ({"succeeded": 2}, [1])
    assert len(served) == 4  # two ordinary tries, two that are compared


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([SPOILT, SPOILT, SPOILT, SPOILT.replace(b"html", b"body")], id="differs-each-time"),
        pytest.param([WHOLE[:-20]], id="cut-at-the-same-place"),
    ],
)
def test_a_file_of_the_output_route_that_may_come_better_is_refused(desk: Desk, bodies: list[bytes]) -> None:
    """Damage that changes, or a last line that may have been cut off, says nothing about what the service has."""
    client, _ = routed(*bodies)
    with client, pytest.raises(DownloadError):
        desk.land_from(client, COMPLETED)

    assert desk.written() == ["0-00000.jsonl"]


def test_a_download_that_breaks_off_leaves_nothing_behind(desk: Desk) -> None:
    """Rows of a broken try are forgotten: what counts is the try that came whole."""
    client, served = routed(WHOLE.replace(b'"hi"', b'"old"')[:-30], WHOLE)
    with client:
        landed = desk.land_from(client, COMPLETED)

    assert [row["response"]["text"] for row in desk.rows()] == ["hi"] * 3
    assert (landed.tally.counts, landed.tally.input_tokens, landed.tally.duplicates) == ({"succeeded": 3}, 9, 0)
    assert len(served) == 2


def test_rows_that_do_not_fit_in_memory_land_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order and content do not depend on what is held."""
    files = Files(out=encode(success("c")) + encode(success("a")), err=encode(failure("b")))
    expected = desk.land(files, with_files())
    monkeypatch.setattr(here, "MAX_HELD_BYTES", 1)

    assert desk.land(files, with_files()) == expected
    assert [row["custom_id"] for row in expected] == ["a", "b", "c"]


@pytest.mark.parametrize("when", ["joining", "settling", "writing"])
def test_a_lost_helper_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """Killed in the middle of a file, or when it was to write: the piece is joined in the task, and the log says so."""
    monkeypatch.setattr(airflow_batch_provider.joining.joiners, "_cores", lambda: 2)
    monkeypatch.setattr(airflow_batch_provider.joining.joiners, "MIN_HELPED_REQUESTS", 1)

    def kill_before(method: Any) -> Any:
        def killed(helper: Helper, *args: Any, **options: Any) -> Any:
            os.kill(helper.pid, signal.SIGKILL)
            return method(helper, *args, **options)

        return killed

    name = {"joining": "end", "settling": "finish", "writing": "write_to"}[when]
    monkeypatch.setattr(Helper, name, kill_before(getattr(Helper, name)))
    files = Files(out=encode(success("c")) + encode(success("a")), err=encode(failure("b")))
    with Joiners(2) as two:
        rows = Desk(tmp_path, ["a", "b", "c"], two).land(files, with_files())

    assert [row["outcome"] for row in rows] == ["succeeded", "failed", "succeeded"]
    assert (
        "A helper process for joining rows is lost (exit code -9). Shard 0-00000 is joined in the task" in caplog.text
    )


@pytest.fixture
def files(tmp_path: Path) -> LandedFiles:
    """Give places for rows that nobody writes."""
    return landed_files(RunFolder(str(tmp_path)))


def test_pieces_land_side_by_side_and_are_noted_one_at_a_time(files: LandedFiles) -> None:
    """Two meet each other under way; each is noted with what is its own, in the thread that began it."""
    together = threading.Barrier(2, timeout=20)
    here, noted = threading.get_ident(), []

    def bring(piece: Piece, batch: Batch, slot: Slot) -> Landed:
        together.wait()
        return Landed(Tally(open=piece.number), BatchStatus.COMPLETED, slot)

    def note(piece: Piece, batch: Batch, landed: Landed) -> None:
        noted.append((piece.number, batch.id, landed.tally.open, threading.get_ident()))

    with Landings(bring, note, files, 2) as landings:
        for number in range(4):
            landings.start(numbered(number), Batch(f"batch_{number}", BatchStatus.COMPLETED))

    assert sorted(noted) == [(number, f"batch_{number}", number, here) for number in range(4)]


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_nothing_is_noted_before_it_is_synced(files: LandedFiles, at_a_time: int) -> None:
    """The journal says "landed" of rows that outlive the machine."""
    steps: list[str] = []

    class Watched:
        def slot(self, piece: Piece) -> Slot:
            return files.slot(piece)

        def sync(self) -> None:
            steps.append("synced")

        def close(self) -> None:
            steps.append("closed")

    def bring(piece: Piece, batch: Batch, slot: Slot) -> Landed:
        return Landed(Tally(), BatchStatus.COMPLETED, slot)

    with Landings(bring, lambda piece, batch, landed: steps.append("noted"), Watched(), at_a_time) as landings:
        landings.start(numbered(0), COMPLETED)
        landings.start(numbered(1), COMPLETED)

    assert steps == ["synced", "noted", "synced", "noted", "closed"]


@pytest.mark.parametrize("fails", [pytest.param("landing", id="another"), pytest.param("caller", id="the-caller")])
def test_a_failure_loses_nothing_that_is_under_way(files: LandedFiles, fails: str) -> None:
    """What lands when another fails, or the caller does, is noted all the same, and the error is told."""
    both_begun, has_failed = threading.Barrier(3, timeout=20), threading.Event()
    noted: list[int] = []

    def bring(piece: Piece, batch: Batch, slot: Slot) -> Landed:
        both_begun.wait()
        if piece.number == 0 and fails == "landing":
            has_failed.set()
            raise DownloadError("cut")
        assert has_failed.wait(20)
        return Landed(Tally(), BatchStatus.COMPLETED, slot)

    def work() -> None:
        with Landings(bring, lambda piece, batch, landed: noted.append(piece.number), files, 2) as landings:
            landings.start(numbered(0), COMPLETED)
            landings.start(numbered(1), COMPLETED)
            both_begun.wait()
            if fails == "caller":
                has_failed.set()
                raise DownloadError("cut")

    with pytest.raises(DownloadError, match="cut"):
        work()

    assert sorted(noted) == ([1] if fails == "landing" else [0, 1])


def numbered(number: int) -> Piece:
    return Piece(number, 0, 0, CHAT, 1, 0, number)
