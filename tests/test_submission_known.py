"""A later try that knows its batch's id, and tries that find more than one batch of theirs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from airflow_batch_provider.exceptions import SubmissionUnknownError
from airflow_batch_provider.hooks.memory import NoMemory
from tests.fakes import FakeMemory
from tests.submitting import KEY, FakeBatches, submission


def knowing(batch: dict[str, Any] | str) -> FakeMemory:
    memory = FakeMemory()
    memory.save({"version": 1, "key": KEY, "batch_id": batch if isinstance(batch, str) else batch["id"]})
    return memory


def test_a_recorded_batch_that_the_service_does_not_know_is_not_paid_again() -> None:
    """A 404 for the recorded batch fails for good and names the ways out; nothing is created."""
    service = FakeBatches()
    with pytest.raises(SubmissionUnknownError, match=r"batch_lost.*does not know it.*resubmit") as caught:
        submission(service, knowing("batch_lost"), is_first_try=False).submit()
    assert not caught.value.retryable
    assert not service.batches


def test_a_recorded_batch_that_is_lost_is_made_again_when_told_to() -> None:
    """With "resubmit" a lost batch is made again, once."""
    service, memory = FakeBatches(), knowing("batch_lost")
    new = submission(service, memory, is_first_try=False, on_unknown="resubmit").submit()
    assert service.live() == [new.id]
    assert submission(service, memory, is_first_try=False, on_unknown="resubmit").submit().id == new.id


def test_a_lost_batch_is_not_made_again_when_its_key_is_found() -> None:
    """Even with "resubmit", a running batch with our key is taken before another one is paid."""
    service = FakeBatches()
    earliest, ours = service.clock(), service.create()["id"]
    attempt = submission(service, knowing("batch_lost"), is_first_try=False, on_unknown="resubmit", earliest=earliest)
    assert attempt.submit().id == ours
    assert service.live() == [ours]


def test_a_recorded_id_that_is_somebody_elses_batch_is_not_adopted() -> None:
    """When the connection points elsewhere and the id means another batch there, it is not taken for ours."""
    service = FakeBatches()
    theirs = service.create("somebody-else")
    with pytest.raises(SubmissionUnknownError, match="somebody else's batch") as caught:
        submission(service, knowing(theirs), is_first_try=False).submit()
    assert not caught.value.retryable
    memory = knowing(theirs)
    new = submission(service, memory, is_first_try=False, on_unknown="resubmit").submit()
    assert new.id != theirs["id"]
    assert service.batches[theirs["id"]]["status"] == "validating", "somebody else's batch is left alone"


@pytest.mark.parametrize("metadata", [pytest.param({}, id="empty"), pytest.param(None, id="null")])
def test_a_recorded_batch_without_metadata_is_still_ours(metadata: Any) -> None:
    """A service that drops metadata has its recorded batch adopted by id."""
    service = FakeBatches()
    ours = service.create(metadata=metadata)
    assert submission(service, knowing(ours), is_first_try=False).submit().id == ours["id"]


def test_a_completed_batch_is_adopted_without_another_question() -> None:
    """A finished task that is cleared costs one GET."""
    service = FakeBatches()
    done = service.create(status="completed")
    assert submission(service, knowing(done), is_first_try=False).submit().id == done["id"]
    assert service.lists == 0


def test_a_loser_of_two_twins_in_the_memory_leads_to_the_winner() -> None:
    """When a try died between cancelling its own twin and noting the winner, the next takes the winner."""
    service = FakeBatches()
    earliest, winner = service.clock(), service.create()
    for status in ("cancelling", "cancelled"):
        loser = service.create(status=status)
        found = submission(service, knowing(loser), is_first_try=False, earliest=earliest).submit()
        assert found.id == winner["id"]
    assert service.live() == [winner["id"]]


def test_a_try_that_died_before_looking_for_twins_is_made_up_for() -> None:
    """A recorded, running batch is not taken without a look for twins: its try may have died before its own."""
    service = FakeBatches()
    earliest, older, younger = service.clock(), service.create(), service.create()
    memory = knowing(younger)
    assert submission(service, memory, is_first_try=False, earliest=earliest).submit().id == older["id"]
    assert service.live() == [older["id"]]
    assert memory.record is not None
    assert memory.record["batch_id"] == older["id"]


def test_a_batch_that_is_being_cancelled_loses_to_one_that_runs() -> None:
    """Age does not help a batch that brings nothing more: the running twin wins and is not cancelled."""
    service = FakeBatches()
    earliest = service.clock()
    service.create(status="cancelling")
    running = service.create()
    found = submission(service, NoMemory(), is_first_try=False, earliest=earliest).submit()
    assert found.id == running["id"]
    assert service.live() == [running["id"]]


def test_a_batch_that_is_being_cancelled_is_waited_for_when_there_is_no_other() -> None:
    """While a cancelled batch still settles its paid rows, no new one is made."""
    service = FakeBatches()
    ending = service.create(status="cancelling")
    assert submission(service, knowing(ending), is_first_try=False).submit().id == ending["id"]
    assert len(service.batches) == 1


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_twin_that_ended_badly_never_wins(status: str) -> None:
    """An older batch that brings no results is passed over."""
    service = FakeBatches()
    earliest = service.clock()
    service.create(status=status)
    good = service.create()
    assert submission(service, NoMemory(), is_first_try=False, earliest=earliest).submit().id == good["id"]


@pytest.mark.parametrize("status", [pytest.param(409, id="409-ended-meanwhile"), pytest.param(500, id="500")])
def test_a_twin_that_cannot_be_cancelled_does_not_cost_the_winner(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused cancel is told in the log, and the try goes on with the oldest batch."""
    service = FakeBatches(refuse_cancel=status)

    def meanwhile(point: str) -> None:
        if point == "before POST /batches":
            service.create()

    found = submission(service, NoMemory(), meanwhile).submit()
    oldest, twin = service.batches
    assert found.id == oldest
    assert f"Batch {twin} could not be cancelled and may be billed too" in caplog.text
    again = submission(service, NoMemory(), is_first_try=False, earliest=service.clock() - 60).submit()
    assert again.id == oldest


@pytest.mark.parametrize("is_first_try", [pytest.param(True, id="created"), pytest.param(False, id="known")])
def test_a_look_for_twins_that_fails_does_not_cost_the_batch(
    is_first_try: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch in hand is kept when the service cannot be asked about twins; the log tells it."""
    service = FakeBatches()
    memory = FakeMemory() if is_first_try else knowing(service.create())

    def no_list(request: httpx.Request) -> httpx.Response:
        is_list = request.method == "GET" and request.url.path.endswith("/batches")
        return httpx.Response(503) if is_list else service(request)

    found = submission(service, memory, handler=no_list, is_first_try=is_first_try).submit()
    assert service.live() == [found.id]
    assert f"Could not look for a twin of batch {found.id}" in caplog.text


def test_a_list_that_lags_behind_does_not_hide_our_own_batch() -> None:
    """When only the older twin is listed yet, our own younger batch is cancelled all the same."""
    service = FakeBatches()
    own = "batch_9998"
    service.unlisted.add(own)

    def meanwhile(point: str) -> None:
        if point == "before POST /batches":
            service.create()

    found = submission(service, NoMemory(), meanwhile).submit()
    assert list(service.batches) == [found.id, own]
    assert service.live() == [found.id]


def test_a_twin_that_is_made_in_the_same_second_is_settled_the_same_way_by_both() -> None:
    """Times in whole seconds do not tell who was first; the list's order does."""
    service = FakeBatches(seconds_per_create=0)
    others = []

    def meanwhile(point: str) -> None:
        if point == "before POST /batches":
            others.append(submission(service, NoMemory()).submit().id)

    assert submission(service, NoMemory(), meanwhile).submit().id == others[0]
    assert service.live() == others
