"""Paid once, also when two tries run at the same time: the oldest batch wins and both get it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from airflow_batch_provider.hooks.memory import NoMemory
from airflow_batch_provider.submission import Memory
from tests.fakes import FakeMemory, Probe, WorkerCrash
from tests.submitting import FakeBatches, submission


class Attempt:
    """One worker in a thread that moves only when it is told to."""

    def __init__(self, name: str, work: Callable[[Probe], str]) -> None:
        self.result: str | BaseException | None = None
        self._may_move, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._crash = False
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()
        self._has_stopped.acquire()

    def _run(self, work: Callable[[Probe], str]) -> None:
        try:
            self._probe("start")
            self.result = work(self._probe)
        except BaseException as error:  # noqa: BLE001 - a crash, or a fault of the test: the player must go on
            self.result = error
        self._has_stopped.release()

    def _probe(self, point: str) -> None:
        if point.startswith("after"):
            return  # nothing another worker can see happens between an answer and the next call
        self._has_stopped.release()
        self._may_move.acquire()
        if self._crash:
            raise WorkerCrash(point)

    @property
    def is_running(self) -> bool:
        return self.result is None

    def move(self, *, crash: bool = False) -> None:
        self._crash = crash
        self._may_move.release()
        self._has_stopped.acquire()


def play(attempts: Sequence[Attempt], order: Sequence[int], *, crash_at: int | None = None) -> list[int]:
    """
    Let attempts move in an order, then to their ends.

    :param order: Which attempt moves next; one that has ended passes.
    :param crash_at: Number of the move at which the moving attempt's worker dies.
    :returns: Who moved.
    """
    moved: list[int] = []
    for which in itertools.chain(order, itertools.repeat(0, 50), itertools.repeat(1, 50)):
        if attempts[which].is_running:
            attempts[which].move(crash=len(moved) == crash_at)
            moved.append(which)
    assert not any(attempt.is_running for attempt in attempts)
    return moved


def some_orders(offset: int) -> Iterator[tuple[int, ...]]:
    """
    An eighth of all ways in which the moves of two attempts can lie between each other (all of them took a minute).

    :param offset: Which eighth.
    """
    for places in itertools.islice(itertools.combinations(range(12), 6), offset, None, 8):
        yield tuple(0 if place in places else 1 for place in range(12))


@pytest.mark.parametrize("is_remembered", [pytest.param(True, id="remembered"), pytest.param(False, id="forgotten")])
@pytest.mark.parametrize("is_retry", [pytest.param(True, id="retry"), pytest.param(False, id="same-try-twice")])
def test_two_tries_at_once_get_the_same_batch_in_every_order_of_events(is_retry: bool, is_remembered: bool) -> None:
    """However the steps of two tries interleave, one batch stays live and both return it."""
    for order in some_orders(is_retry + 2 * is_remembered):
        service, memory = FakeBatches(), FakeMemory()
        shared: Memory = memory if is_remembered else NoMemory()
        attempts = _two_attempts(service, memory, shared, is_retry=is_retry)
        play(attempts, order)
        assert [attempts[0].result, attempts[1].result] == [service.live()[0]] * 2, order
        assert len(service.live()) == 1, order


def _two_attempts(service: FakeBatches, memory: FakeMemory, shared: Memory, *, is_retry: bool) -> list[Attempt]:
    earliest = service.clock()

    def work(is_first_try: bool) -> Callable[[Probe], str]:
        def run(probe: Probe) -> str:
            own = _View(memory, probe) if shared is memory else shared
            return submission(service, own, probe, is_first_try=is_first_try, earliest=earliest).submit().id

        return run

    return [Attempt("first", work(True)), Attempt("second", work(not is_retry))]


class _View:
    """The shared memory as one of several workers sees it."""

    def __init__(self, memory: FakeMemory, probe: Probe) -> None:
        self._memory, self._probe = memory, probe

    def load(self) -> Any:
        self._probe("before load")
        return self._memory.load()

    def save(self, record: Any) -> None:
        self._probe("before save")
        self._memory.save(record)


@pytest.mark.parametrize("is_remembered", [pytest.param(True, id="remembered"), pytest.param(False, id="forgotten")])
def test_a_crash_amid_two_tries_is_settled_by_the_next(is_remembered: bool) -> None:
    """Whichever of two tries dies at whichever step, a third ends with one live batch and returns it."""
    for number, order in enumerate(some_orders(4 + is_remembered)):
        service, memory = FakeBatches(), FakeMemory()
        shared: Memory = memory if is_remembered else NoMemory()
        earliest = service.clock()
        attempts = _two_attempts(service, memory, shared, is_retry=True)
        play(attempts, order, crash_at=number % 13)
        last = submission(service, shared, is_first_try=False, earliest=earliest).submit()
        assert service.live() == [last.id], (order, number % 13)


def test_a_try_that_airflow_has_forgotten_leaves_no_twin() -> None:
    """Airflow gives a retry another id, so a worker thought dead cannot save any more: it cancels its own batch."""
    service, memory = FakeBatches(), FakeMemory()
    earliest = service.clock()
    successors: list[str] = []

    def freeze(point: str) -> None:
        if point == "before POST /batches" and not successors:
            successors.append(submission(service, memory, is_first_try=False, earliest=earliest).submit().id)

    with pytest.raises(RuntimeError, match="Task instance not found"):
        submission(service, _Forgotten(memory), freeze, is_first_try=True, earliest=earliest).submit()

    assert service.live() == successors
    assert len(service.batches) == 2


class _Forgotten:
    """Airflow's state store for a try that another one has replaced since it began."""

    def __init__(self, memory: FakeMemory) -> None:
        self._memory, self._saves = memory, 0

    def load(self) -> Any:
        return self._memory.load()

    def save(self, record: Any) -> None:
        self._saves += 1
        if self._saves > 1:
            raise RuntimeError("API_SERVER_ERROR 404: Task instance not found")
        self._memory.save(record)
