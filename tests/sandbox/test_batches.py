from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from airflow_batch_provider.sandbox import Limits, SandboxServer, Settings, create_app
from airflow_batch_provider.sandbox.batches import Stopped
from tests.sandbox.support import FakeClock, ShortClient, row, rows

STAMPS = ["in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"]


def test_a_batch_is_shown_as_openai_shows_it(client: ShortClient) -> None:
    """Every field of OpenAI's batch object is there from the beginning."""
    file_id = client.upload(rows(2))
    batch = client.post_batch(input_file_id=file_id, metadata={"team": "search"}).json()

    assert batch.pop("id").startswith("batch_")
    assert batch == {
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": file_id,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1_700_000_000,
        "expires_at": 1_700_086_400,
        **dict.fromkeys(STAMPS),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": {"team": "search"},
    }


def test_a_batch_runs_from_validating_to_completed(client: ShortClient, clock: FakeClock) -> None:
    """State and counts follow the clock, and at the end the results are there."""
    batch_id = client.submit(rows(1_000))  # 2 s of validation, 4 s of running, 1 s of finalizing
    seen = []
    for _ in range(9):
        batch = client.batch(batch_id)
        seen.append((batch["status"], batch["request_counts"]["completed"]))
        clock.advance(1)

    assert seen == [
        ("validating", 0),
        ("validating", 0),
        ("in_progress", 0),
        ("in_progress", 250),
        ("in_progress", 500),
        ("in_progress", 750),
        ("finalizing", 1_000),
        ("completed", 1_000),
        ("completed", 1_000),
    ]
    assert (batch["error_file_id"], len(client.output(batch))) == (None, 1_000)
    assert [batch[stamp] for stamp in STAMPS[:3]] == [1_700_000_002, 1_700_000_006, 1_700_000_007]


def test_invalid_input_fails_with_line_numbers(client: ShortClient) -> None:
    """The findings are in errors, in OpenAI's shape, and there are no results."""
    batch = client.run(row("a") + row("a"))

    assert (batch["status"], batch["output_file_id"], batch["failed_at"]) == ("failed", None, 1_700_000_002)
    assert batch["errors"]["object"] == "list"
    assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == [("duplicate_custom_id", 2)]


def test_too_many_rows_fail(clock: FakeClock) -> None:
    """The limit can be set."""
    with SandboxServer(clock=clock, limits=Limits(max_requests=2)) as server, httpx.Client(base_url=server.url) as http:
        batch = ShortClient(http, clock).run(rows(3))

    assert batch["errors"]["data"][0]["code"] == "too_many_tasks"


def test_an_expired_batch_keeps_what_was_done(client: ShortClient) -> None:
    """Part of the rows is in the output, the rest is in the error file."""
    batch = client.run(rows(10), "expire_after=0.4")

    assert (batch["status"], batch["request_counts"]) == ("expired", {"total": 10, "completed": 4, "failed": 6})
    assert len(client.output(batch)) == 4
    assert {line["error"]["code"] for line in client.errors(batch)} == {"batch_expired"}
    assert batch["expires_at"] == batch["expired_at"]


def test_cancelling_keeps_what_was_done(client: ShortClient, clock: FakeClock) -> None:
    """A cancelled batch stops where it is, passes through cancelling, and has partial results."""
    batch_id = client.submit(rows(1_000))
    clock.advance(3)
    assert client.cancel(batch_id)["status"] == "cancelling"
    assert client.cancel(batch_id)["status"] == "cancelling"
    clock.advance(1)
    batch = client.batch(batch_id)

    assert (batch["status"], batch["cancelling_at"], batch["cancelled_at"]) == (
        "cancelled",
        1_700_000_003,
        1_700_000_004,
    )
    assert batch["request_counts"] == {"total": 1_000, "completed": 250, "failed": 750}
    assert {line["error"]["code"] for line in client.errors(batch)} == {"batch_cancelled"}


def test_cancelling_while_validating_leaves_nothing(client: ShortClient, clock: FakeClock) -> None:
    """Nobody has looked at its rows yet, so there are no results."""
    batch_id = client.submit(rows(3))
    client.cancel(batch_id)
    clock.advance(100)
    batch = client.batch(batch_id)

    assert (batch["status"], batch["output_file_id"], batch["error_file_id"]) == ("cancelled", None, None)


@pytest.mark.parametrize("directives", ["", "outcome=failed", "outcome=expired", "outcome=cancelled"])
def test_what_has_ended_cannot_be_cancelled(client: ShortClient, directives: str) -> None:
    """The answer is 409, with the status in it."""
    batch = client.run(rows(1), directives)
    answer = client.http.post(f"/batches/{batch['id']}/cancel")

    assert answer.status_code == 409
    assert batch["status"] in answer.json()["error"]["message"]


def test_a_batch_goes_on_when_its_input_is_deleted(client: ShortClient, clock: FakeClock) -> None:
    """The batch has its own hold on the input."""
    file_id = client.upload(rows(3))
    batch_id = client.post_batch(input_file_id=file_id).json()["id"]
    client.http.delete(f"/files/{file_id}")
    clock.advance(100)

    assert len(client.output(client.batch(batch_id))) == 3


def test_a_file_system_without_links_will_do(monkeypatch: pytest.MonkeyPatch, client: ShortClient) -> None:
    """Then the batch has a copy of its input."""

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)

    assert len(client.output(client.run(rows(3)))) == 3


def test_a_lost_record_does_not_mix_up_the_others(tmp_path: Path, clock: FakeClock) -> None:
    """Pages join up after a restart even if a batch has gone missing from the directory."""
    with SandboxServer(clock=clock, directory=tmp_path) as server, httpx.Client(base_url=server.url) as http:
        ids = [ShortClient(http, clock).submit(rows(1)) for _ in range(4)]
    (tmp_path / "batches" / f"{ids[1]}.json").unlink()
    with SandboxServer(clock=clock, directory=tmp_path) as server, httpx.Client(base_url=server.url) as http:
        page = http.get("/batches", params={"after": ids[3], "limit": 1}).json()

        assert ([batch["id"] for batch in page["data"]], page["has_more"]) == ([ids[2]], True)


def test_results_can_expire(client: ShortClient, clock: FakeClock) -> None:
    """output_expires_after is for the result files."""
    expiry = {"anchor": "created_at", "seconds": 3_600}
    answer = client.post_batch(input_file_id=client.upload(rows(1)), output_expires_after=expiry)
    clock.advance(100)
    file_id = client.batch(answer.json()["id"])["output_file_id"]
    assert client.content(file_id)

    clock.advance(3_600)

    assert client.http.get(f"/files/{file_id}/content").status_code == 404


def test_a_batch_survives_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    """With a directory, a new sandbox goes on where the old one stopped."""
    with SandboxServer(clock=clock, directory=tmp_path, seed=1) as server, httpx.Client(base_url=server.url) as http:
        client = ShortClient(http, clock)
        done = client.run(rows(2))
        waiting = client.submit(rows(3))
    with SandboxServer(clock=clock, directory=tmp_path, seed=1) as server, httpx.Client(base_url=server.url) as http:
        client = ShortClient(http, clock)
        newer = client.submit(rows(1))
        clock.advance(100)

        assert client.batch(done["id"]) == done
        assert len(client.output(client.batch(waiting))) == 3
        assert [batch["id"] for batch in server.batches()] == [done["id"], waiting, newer]


def test_results_are_written_once(client: ShortClient, server: SandboxServer) -> None:
    """However many ask at the same time, there is one output file."""
    batch_id = client.submit(rows(500))
    client.clock.advance(100)
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(httpx.get(f"{server.url}/batches/{batch_id}").json()["output_file_id"])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 1
    assert [file["purpose"] for file in server.files()] == ["batch", "batch_output"]


def test_closing_stops_work(clock: FakeClock) -> None:
    """A sandbox that closes does not finish what it was writing."""
    app = create_app(Settings(clock=clock))
    app._batches.close()

    with pytest.raises(Stopped):
        app._batches._tick()
    app.close()


def test_an_impatient_sandbox_tells_the_state_before(clock: FakeClock) -> None:
    """When work that is due is not done in time, the batch stays in the state before a little longer."""
    with SandboxServer(clock=clock, patience=0) as server, httpx.Client(base_url=server.url) as http:
        client = ShortClient(http, clock)
        batch_id = client.submit(rows(3))
        for status, seconds in (("validating", 2), ("finalizing", 100)):
            clock.advance(seconds)
            # Holding the lock keeps the work from being done, however fast the machine is.
            with server._sandbox._batches._work_locks.setdefault(batch_id, threading.Lock()):
                assert client.batch(batch_id)["status"] == status
            while client.batch(batch_id)["status"] == status:
                pass

        assert len(client.output(client.batch(batch_id))) == 3
