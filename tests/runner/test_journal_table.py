"""What a try does with the journal it finds: a row of the table in docs/design.md per test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider import planning
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import (
    ForeignJournalError,
    InputError,
    JournalUnreadableError,
    StaleJournalError,
    SupersededError,
)
from airflow_batch_provider.runner import Finished
from airflow_batch_provider.sandbox import SandboxServer
from airflow_batch_provider.storage import sources
from tests.fakes import FakeClock, WorkerCrash
from tests.runner.support import PAIRS, Desk, dying_worker

ECHOES = ("sandbox-echo",) * 4


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give a run of two shards."""
    clock = FakeClock()
    with SandboxServer(clock=clock, seed=6) as server:
        desk = Desk(server, clock, tmp_path)
        desk.write(*ECHOES)
        yield desk


def crash(desk: Desk, point: str, *, nth: int = 1) -> None:
    """Let the first try run until it comes by a point for the nth time, and die there."""
    left = [nth]

    def probe(at: str) -> None:
        left[0] -= at == point
        if left[0] == 0:
            raise WorkerCrash(at)

    with dying_worker(desk.output, probe), pytest.raises(WorkerCrash):
        desk.finish(probe=probe)
    desk.clock.advance(60)


@pytest.mark.parametrize(
    ("point", "nth", "step", "uploads", "batches", "downloads"),
    [
        pytest.param("before write journal.json", 1, None, 2, 2, 2, id="nothing"),
        pytest.param("before POST /files", 1, "planned", 2, 2, 2, id="planned"),
        pytest.param("after POST /files", 1, "planned", 3, 2, 2, id="upload-intended"),
        pytest.param("before POST /batches", 1, "uploaded", 2, 2, 2, id="create-intended"),
        pytest.param("after POST /batches", 1, "uploaded", 2, 2, 2, id="created-unnoted"),
        pytest.param("before POST /files", 2, "created", 2, 2, 2, id="created"),
        pytest.param("before write landed rows", 1, "created", 2, 2, 3, id="ended"),
        pytest.param("before write results.jsonl", 1, "landed", 2, 2, 2, id="landed"),
        pytest.param("before write summary.json", 2, "cleaned", 2, 2, 2, id="cleaned"),
    ],
)
def test_a_retry_goes_on_where_the_journal_says(
    desk: Desk, point: str, nth: int, step: str | None, uploads: int, batches: int, downloads: int
) -> None:
    """Each step is done again only when it is not known to be done, and the paid one never."""
    crash(desk, point, nth=nth)
    assert not desk.journal_path.exists() if step is None else desk.journal()["pieces"][0]["step"] == step

    desk.finish("2")

    calls = desk.server.calls
    assert calls["POST /files"] == uploads
    assert calls["POST /batches"] == batches == len(desk.live())
    assert calls["GET /files/{id}/content"] == downloads
    assert desk.outcomes() == ["succeeded"] * 4
    assert desk.server.files() == []


@pytest.mark.parametrize("attempt", [pytest.param("2", id="retry-or-clear"), pytest.param("1", id="same-try")])
def test_a_finished_run_is_reused_without_a_call(desk: Desk, attempt: str) -> None:
    """Clearing a task that succeeded returns the same summary; the service is not called at all."""
    summary, results, before = desk.finish(), desk.results, desk.calls()
    desk.clock.advance(100_000)

    again = desk.advance(attempt)

    assert again == Finished(summary)
    assert desk.calls() == before
    assert desk.results == results


def test_a_finished_run_is_reused_after_its_input_changed(desk: Desk) -> None:
    """What is finished does not ask about its input any more."""
    summary = desk.finish()
    desk.input.unlink()

    assert desk.advance("2", on_changed_input="restart") == Finished(summary)


def test_who_reuses_a_run_hears_that_its_input_has_changed(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Results of yesterday's input are not taken for today's: the log says so and what to do."""
    summary, before = desk.finish(), desk.calls()
    desk.write(*ECHOES, "sandbox-echo")

    assert desk.advance("2") == Finished(summary)
    assert "changed since the run finished" in caplog.text
    assert 'if_finished="restart"' in caplog.text
    assert desk.calls() == before


def test_a_finished_run_is_reused_though_its_input_cannot_be_asked_about(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is for a warning; rights that were taken away meanwhile take nothing from what is finished."""
    summary = desk.finish()

    def refuse(*args: object, **how: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(sources, "find_files", refuse)
    assert desk.advance("2") == Finished(summary)


def test_what_a_run_writes_is_not_its_input(desk: Desk) -> None:
    """A glob or a folder may cover the output: a retry that took shards for input would begin anew, and pay again."""
    glob: dict[str, Any] = {"input": f"{desk.folder}/**/*.jsonl", "on_changed_input": "restart"}
    desk.advance(**glob)
    desk.advance("2", **glob)
    desk.clock.advance(60)
    summary = desk.finish("3", **glob)
    again = desk.advance("4", **glob)

    assert again == Finished(summary)
    assert (len(desk.batches()), summary["requests"]) == (2, 4)


def test_a_run_whose_results_are_gone_does_not_pass_for_finished(desk: Desk) -> None:
    """A summary that names a file that is not there would fail whoever comes next, further from the cause."""
    desk.finish()
    before = desk.calls()
    (desk.output / "results.jsonl").unlink()

    with pytest.raises(StaleJournalError, match=r"results\.jsonl is gone\. Nothing was sent.*restart"):
        desk.advance("2")

    assert desk.calls() == before
    assert desk.finish("3", if_finished="restart")["requests"] == len(desk.rows()) == 4


def test_a_finished_run_begins_anew_when_asked(desk: Desk) -> None:
    """With ``if_finished="restart"`` everything is sent again, and only the new batches' files go."""
    first = desk.finish()
    desk.write(*ECHOES, "sandbox-echo")

    second = desk.finish("2", if_finished="restart")

    assert (second["requests"], second["batches"]) == (5, 3)
    assert not set(first["batch_ids"]) & set(second["batch_ids"])
    assert len(desk.rows()) == 5


def test_a_restarted_run_that_crashes_goes_on(desk: Desk) -> None:
    """The next try of a restarted run does not restart it once more."""
    desk.finish()
    desk.advance("2", if_finished="restart")

    desk.finish("3", if_finished="restart")

    assert len(desk.batches()) == 4


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda desk: desk.write(*ECHOES, "sandbox-echo") or {}, id="input"),
        pytest.param(lambda desk: {"endpoint": "/v1/chat/completions"}, id="endpoint"),
        pytest.param(lambda desk: {"limits": BatchLimits(max_requests=3)}, id="limits"),
        pytest.param(lambda desk: {"limits": replace(PAIRS, one_model=True)}, id="one-model"),
    ],
)
def test_a_changed_input_fails_and_nothing_is_sent(desk: Desk, change: Any) -> None:
    """A plan is not continued with another input or other parameters that shape it, unless asked."""
    desk.advance()
    options, before = change(desk), desk.calls()

    with pytest.raises(StaleJournalError, match=r"Nothing was sent.*restart.*take the input away") as caught:
        desk.advance("2", **options)

    assert not caught.value.retryable
    assert desk.calls() == before


def test_a_changed_input_restarts_when_asked(desk: Desk) -> None:
    """With ``on_changed_input="restart"`` the new input is planned and sent; nothing of the earlier plan is left."""
    desk.advance()
    first = desk.live()
    desk.write("sandbox-echo")

    summary = desk.finish("2", on_changed_input="restart")

    assert summary["requests"] == len(desk.rows()) == 1
    assert not set(first) & set(summary["batch_ids"])
    assert desk.server.files() == []
    assert desk.left_behind() == []


def test_batches_of_an_earlier_plan_are_cancelled(desk: Desk) -> None:
    """Nobody will read what they bring, so they must not run on and cost."""
    desk.options["metadata"] = {"sandbox": "seconds=80000"}
    desk.advance()
    first = desk.live("in_progress", "validating")
    desk.write("sandbox-echo")

    desk.advance("2", on_changed_input="restart")

    assert len(first) == 2
    assert not set(desk.live("in_progress", "validating")) & set(first)


def test_a_cancel_that_fails_is_tried_again(desk: Desk) -> None:
    """The service may be down just then: the run goes on, and so does the cancelling."""
    desk.options["metadata"] = {"sandbox": "seconds=80000"}
    desk.advance()
    first = desk.live("in_progress", "validating")
    desk.write("sandbox-echo")
    desk.server.faults.add("POST /batches/{id}/cancel", "status", status=500)

    desk.advance("2", on_changed_input="restart")
    still = set(desk.live("in_progress", "validating")) & set(first)
    desk.server.faults.clear()
    desk.advance("2", on_changed_input="restart", resumes=True)

    assert still == set(first)
    assert not set(desk.live("in_progress", "validating")) & set(first)


def test_a_batch_of_an_earlier_plan_that_has_ended_is_not_cancelled(desk: Desk) -> None:
    """There is nothing to stop; its files go at the end."""
    desk.advance()
    desk.clock.advance(60)
    desk.write("sandbox-echo")

    desk.finish("2", on_changed_input="restart")

    assert desk.server.calls["POST /batches/{id}/cancel"] == 0
    assert desk.server.files() == []


def test_a_smaller_plan_leaves_no_shards_of_the_larger_one(desk: Desk) -> None:
    """Kept run files are those of the run that was kept."""
    desk.advance(keep_run_files=True)
    desk.write("sandbox-echo")

    desk.finish("2", on_changed_input="restart", keep_run_files=True)

    assert [name for name in desk.left_behind() if "shards" in name] == [
        "_run/shards/0-00000.jsonl", "_run/shards/0-00000.jsonl.ids",
    ]  # fmt: skip


def test_a_restart_with_a_wrong_input_does_not_spoil_the_earlier_run(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs is paid for: it is not given up for an input that cannot be planned, and can be gone on with."""
    desk.advance()
    good, times = desk.input.read_bytes(), desk.input.stat()
    desk.write("sandbox-fail-400", "sandbox-fail-400", "sandbox-echo", url="/v1/chat/completions")
    desk.input.write_bytes(desk.input.read_bytes() + b"not JSON\n")
    with pytest.raises(InputError):
        desk.advance("2", on_changed_input="restart")
    assert "the earlier plan is kept: its batches go on and are billed" in caplog.text
    desk.input.write_bytes(good)
    os.utime(desk.input, ns=(times.st_atime_ns, times.st_mtime_ns))

    desk.finish("3")

    assert [row["custom_id"] for row in desk.rows()] == [f"row-{number}" for number in range(4)]
    assert desk.outcomes() == ["succeeded"] * 4
    assert len(desk.batches()) == 2


def test_a_plan_that_was_given_up_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies while it plans anew has given up the old plan and made no other."""
    desk.advance()
    desk.write("sandbox-echo")
    with monkeypatch.context() as patch:
        patch.setattr(planning, "plan_input", raise_crash)
        with pytest.raises(WorkerCrash):
            desk.advance("2", on_changed_input="restart")

    with pytest.raises(StaleJournalError, match="gave up its plan.*restart"):
        desk.advance("3")
    desk.finish("4", on_changed_input="restart")

    assert desk.outcomes() == ["succeeded"]


def raise_crash(*args: object, **how: object) -> None:
    raise WorkerCrash("while it plans")


def test_a_batch_whose_answer_was_lost_is_found_and_cancelled(desk: Desk) -> None:
    """A restart looks for what the earlier plan may have made: it would run, and cost, unread."""
    desk.options["metadata"] = {"sandbox": "seconds=80000"}
    crash(desk, "after POST /batches")
    desk.write("sandbox-echo")
    (lost,) = desk.live("in_progress", "validating")

    desk.advance("2", on_changed_input="restart")

    assert lost not in desk.live("in_progress", "validating")
    assert len(desk.live("in_progress", "validating")) == 1


def test_a_batch_that_nobody_can_find_is_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A service without a list cannot say whether the lost call made one: a person is sent to look, and files stay."""
    crash(desk, "after POST /batches")
    desk.write("sandbox-echo")
    desk.server.faults.add("GET /batches", "status", status=404)

    desk.finish("2", on_changed_input="restart", delete_remote_files=True)

    assert "Nobody can say whether shard 0-00000 of the earlier plan has a batch" in caplog.text
    assert len(desk.server.files()) >= 1
    assert desk.outcomes() == ["succeeded"]


def test_a_batch_made_after_another_try_began_anew_is_cancelled(desk: Desk) -> None:
    """A worker thought dead that makes its batch then: the new plan does not know of it."""
    desk.options["metadata"] = {"sandbox": "seconds=80000"}

    def restarts(point: str) -> None:
        if point == "before POST /batches" and not desk.batches():
            desk.write("sandbox-echo")
            desk.advance("2", on_changed_input="restart")

    with pytest.raises(SupersededError):
        desk.advance("1", probe=restarts)

    running = desk.live("in_progress", "validating")
    assert running == [piece["submission"]["batch_id"] for piece in desk.journal()["pieces"]]
    assert len(desk.batches()) == 2


@pytest.mark.parametrize("status", [401, 429, 500])
def test_what_could_not_be_cancelled_is_no_less_abandoned(desk: Desk, status: int) -> None:
    """Whatever the reason was, the batch still runs: the next try stops it, also one that ends the run."""
    desk.options["metadata"] = {"sandbox": "seconds=80000"}
    desk.advance()
    first = desk.live("in_progress", "validating")
    desk.write("sandbox-echo")
    desk.options["metadata"] = {}
    desk.server.faults.add("POST /batches/{id}/cancel", "status", status=status)
    desk.finish("2", on_changed_input="restart")
    files = {file["id"] for file in desk.server.files()}
    assert desk.live("in_progress", "validating") == first
    assert len(files) == 2, "files that a running batch may need"
    desk.server.faults.clear()

    desk.finish("3", if_finished="restart")

    assert not set(desk.live("in_progress", "validating")) & set(first)


def test_a_vanished_input_goes_on_with_the_runs_own_copy(desk: Desk) -> None:
    """The source is read once; what it held is under ``_run/``."""
    crash(desk, "before POST /files")
    desk.input.unlink()

    desk.finish("2")

    assert desk.outcomes() == ["succeeded"] * 4


@pytest.mark.parametrize("is_finished", [pytest.param(True, id="finished"), pytest.param(False, id="waiting")])
@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"run_id": "scheduled__2026-11-25"}, id="run"),
        pytest.param({"task_id": "label_v2"}, id="task"),
        pytest.param({"map_index": 2}, id="mapped"),
    ],
)
def test_a_foreign_journal_names_both(desk: Desk, other: dict[str, Any], is_finished: bool) -> None:
    """An output folder belongs to one task instance; the error names its owner and the intruder."""
    desk.finish() if is_finished else desk.advance()
    owner, before = desk.owner, desk.calls()
    intruder = replace(desk.owner, **other)

    desk.owner = intruder
    with pytest.raises(ForeignJournalError) as caught:
        desk.advance(if_finished="restart", on_changed_input="restart")

    assert str(owner) in str(caught.value)
    assert str(intruder) in str(caught.value)
    assert desk.calls() == before


UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda text: b"\x00\xff garbage",
    "empty": lambda text: b"",
    "cut": lambda text: text[: len(text) // 2],
    "null": lambda text: b"null",
    "list": lambda text: b"[1]",
    "object": lambda text: b"{}",
    "future": lambda text: text.replace(b'"version": 1', b'"version": 2', 1),
    "new-field": lambda text: text.replace(b'"version": 1', b'"version": 1, "priority": 3', 1),
    "unknown-step": lambda text: text.replace(b'"created"', b'"billed"'),
    "no-pieces": lambda text: json.dumps(json.loads(text) | {"pieces": None}).encode(),
}


@pytest.mark.parametrize("resumes", [pytest.param(True, id="resumed"), pytest.param(False, id="retry")])
@pytest.mark.parametrize("damage", UNREADABLE)
def test_an_unreadable_journal_is_never_taken_for_absent(desk: Desk, damage: str, resumes: bool) -> None:
    """It may tell of paid batches: nothing is sent, it stays as it is, and the error says so."""
    desk.advance()
    damaged, before = UNREADABLE[damage](desk.journal_path.read_bytes()), desk.calls()
    desk.journal_path.write_bytes(damaged)

    with pytest.raises(JournalUnreadableError, match=r"journal\.json .*nothing was\s+started"):
        desk.advance("1" if resumes else "2", resumes=resumes)

    assert desk.calls() == before
    assert desk.journal_path.read_bytes() == damaged


def test_a_journal_that_vanished_while_the_task_waited_is_no_new_run(desk: Desk) -> None:
    """A deferred try that finds no journal knows that there was one."""
    desk.advance()
    before = desk.calls()
    desk.journal_path.unlink()

    with pytest.raises(JournalUnreadableError, match="is gone") as caught:
        desk.advance(resumes=True)

    assert desk.calls() == before
    assert not caught.value.retryable, "a retry of Airflow's own would plan, and pay, anew"
