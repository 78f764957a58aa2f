"""Asking the service for a batch by its key: what counts as found, as absent, and as unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_batch_provider import submission as module
from airflow_batch_provider.core.options import OnUnknownSubmission
from airflow_batch_provider.exceptions import ApiError, SubmissionUnknownError
from airflow_batch_provider.hooks.memory import NoMemory
from tests.fakes import FakeMemory
from tests.submitting import KEY, FakeBatches, submission

INTENT = {"version": 1, "key": KEY, "batch_id": None}


def remembering(record: dict[str, Any]) -> FakeMemory:
    memory = FakeMemory()
    memory.save(record)
    return memory


def others(service: FakeBatches, count: int) -> None:
    for _ in range(count):
        service.create("somebody-else")


@pytest.mark.parametrize("newest_first", [pytest.param(True, id="newest-first"), pytest.param(False, id="ascending")])
def test_a_batch_behind_several_pages_is_found(newest_first: bool) -> None:
    """However many batches were made since, and in whatever order they are listed, ours is adopted."""
    service = FakeBatches(newest_first=newest_first)
    others(service, 10)
    earliest = service.clock()
    ours = service.create()["id"]
    others(service, 250)
    assert submission(service, NoMemory(), is_first_try=False, earliest=earliest).submit().id == ours
    assert service.lists == 3
    assert len(service.batches) == 261


@pytest.mark.parametrize("newest_first", [pytest.param(True, id="newest-first"), pytest.param(False, id="ascending")])
def test_a_list_read_to_its_end_without_the_key_means_absent(newest_first: bool) -> None:
    """A key that is surely absent is created, after one look through the whole list."""
    service = FakeBatches(newest_first=newest_first)
    others(service, 250)
    batch = submission(service, remembering(INTENT), is_first_try=False, earliest=0).submit()
    assert batch.id in service.batches
    assert len(service.batches) == 251


def test_the_look_ends_where_the_task_began() -> None:
    """A newest-first list is not read beyond the time at which the task can first have run."""
    service = FakeBatches()
    others(service, 250)
    service.clock.advance(7200)
    others(service, 1)
    submission(service, NoMemory(), is_first_try=False, earliest=service.clock()).submit()
    assert service.lists == 2, "one page before the create, one after it"


@pytest.mark.parametrize("seconds", [pytest.param(-3000, id="behind"), pytest.param(3000, id="ahead")])
def test_clocks_may_differ_by_most_of_an_hour(seconds: float) -> None:
    """A service whose clock runs behind or ahead of the worker's still has its batch found."""
    service = FakeBatches()
    ours = service.create(created_at=service.clock() + seconds)["id"]
    found = submission(service, NoMemory(), is_first_try=False, earliest=service.clock()).submit()
    assert found.id == ours


def test_a_twin_is_found_behind_several_pages_after_the_create() -> None:
    """A try that slept before its paid call, while hundreds of batches were made, still yields to the other try."""
    service = FakeBatches()
    twins = []

    def meanwhile(point: str) -> None:
        if point == "before POST /batches":
            twins.append(service.create()["id"])
            others(service, 250)

    assert submission(service, NoMemory(), meanwhile).submit().id == twins[0]
    assert [batch["status"] for batch in service.batches.values() if batch["metadata"]["airflow_key"] == KEY] == [
        "validating", "cancelling",
    ]  # fmt: skip


def test_a_look_that_is_too_long_is_not_conclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bound on pages ends the look, "not seen" is not "not there"."""
    monkeypatch.setattr(module, "MAX_SEARCHED_PAGES", 2)
    service = FakeBatches()
    others(service, 250)
    with pytest.raises(SubmissionUnknownError, match="could not be read to its end"):
        submission(service, NoMemory(), is_first_try=False, earliest=0).submit()
    assert len(service.batches) == 250


def test_a_list_that_starts_again_from_the_top_is_not_conclusive() -> None:
    """A service that ignores the cursor cannot prove that a key is absent, and the look ends."""
    service = FakeBatches(loses_cursor=True)
    others(service, 150)
    with pytest.raises(SubmissionUnknownError, match="could not be read to its end") as caught:
        submission(service, NoMemory(), is_first_try=False, earliest=0).submit()
    assert not caught.value.retryable
    assert service.lists == 2
    ours = service.create()["id"]
    assert submission(service, NoMemory(), is_first_try=False, earliest=0).submit().id == ours


def no_list(status: int, body: dict[str, Any]) -> Callable[[FakeBatches], Callable[[httpx.Request], httpx.Response]]:
    def wrap(service: FakeBatches) -> Callable[[httpx.Request], httpx.Response]:
        def handle(request: httpx.Request) -> httpx.Response:
            is_list = request.method == "GET" and request.url.path.endswith("/batches")
            return httpx.Response(status, json=body) if is_list else service(request)

        return handle

    return wrap


def hidden(service: FakeBatches) -> FakeBatches:
    service.hides_metadata = True
    service.create("somebody-else")
    return service


UNASKABLE = [
    pytest.param(hidden, id="no-metadata-in-answers"),
    pytest.param(no_list(404, {"error": {"message": "Not Found"}}), id="no-list-404"),
    pytest.param(no_list(405, {"detail": "Method Not Allowed"}), id="no-list-405"),
    pytest.param(no_list(500, {"status": "failure", "message": "Model is required"}), id="gateway-cannot-list"),
]


@pytest.mark.parametrize("service_of", UNASKABLE)
@pytest.mark.parametrize("record", [pytest.param(None, id="forgotten"), pytest.param(INTENT, id="intent")])
@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
def test_a_service_that_can_never_be_asked_is_left_to_the_policy(
    service_of: Any, record: dict[str, Any] | None, on_unknown: OnUnknownSubmission
) -> None:
    """Without metadata or a list, a later try fails for good and says how to go on, or resubmits when told to."""
    service = FakeBatches()
    handler = service_of(service)
    before = len(service.batches)
    memory = NoMemory() if record is None else remembering(record)
    attempt = submission(service, memory, handler=handler, is_first_try=False, on_unknown=on_unknown)
    if on_unknown == "resubmit":
        assert attempt.submit().id in service.batches
        assert len(service.batches) == before + 1
        return
    with pytest.raises(SubmissionUnknownError, match='on_unknown_submission="resubmit"') as caught:
        attempt.submit()
    assert not caught.value.retryable
    assert len(service.batches) == before


@pytest.mark.parametrize("service_of", UNASKABLE)
def test_a_service_that_can_never_be_asked_serves_first_tries(service_of: Any) -> None:
    """A first try needs no list and no metadata, and remembers its batch for the next."""
    service, memory = FakeBatches(), FakeMemory()
    handler = service_of(service)
    first = submission(service, memory, handler=handler).submit()
    again = submission(service, memory, handler=handler, is_first_try=False).submit()
    assert again.id == first.id


def test_a_service_that_shows_no_batches_at_all_is_believed() -> None:
    """An empty list is conclusive, also from a service that would not show metadata."""
    service = FakeBatches(hides_metadata=True)
    assert submission(service, NoMemory(), is_first_try=False).submit().id in service.batches


@pytest.mark.parametrize("status", [pytest.param(429, id="429"), pytest.param(400, id="400")])
def test_a_refused_call_is_remembered_as_one_that_created_nothing(status: int) -> None:
    """A sure refusal does not leave the next try in doubt, even where the service cannot be asked."""
    service, memory = hidden(FakeBatches()), FakeMemory()

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={}) if request.method == "POST" else service(request)

    with pytest.raises(ApiError):
        submission(service, memory, handler=refuse).submit()
    assert submission(service, memory, is_first_try=False).submit().id in service.live()


def test_a_call_that_never_left_is_remembered_as_one_that_created_nothing() -> None:
    """A refused connection leaves no doubt either."""
    service, memory = hidden(FakeBatches()), FakeMemory()

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            raise httpx.ConnectError("connection refused")
        return service(request)

    with pytest.raises(ApiError):
        submission(service, memory, handler=refuse).submit()
    assert submission(service, memory, is_first_try=False).submit().id in service.live()
