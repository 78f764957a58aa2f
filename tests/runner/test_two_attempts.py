"""Two tries at once: a worker thought dead goes on while its successor works, and nothing is paid or written twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_batch_provider.exceptions import SupersededError
from airflow_batch_provider.sandbox import SandboxServer
from tests.fakes import FakeClock, WorkerCrash
from tests.runner.support import Desk, dying_worker, new_desk, on_call

MODELS = ("sandbox-echo", "sandbox-fail-400", "sandbox-echo")
SOME_FAIL = {"sandbox": "fail_rows=0.5 fail_code=429"}
NEEDED_BATCHES = 3
PARTS = 4


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def server(clock: FakeClock) -> Iterator[SandboxServer]:
    with SandboxServer(clock=clock, seed=4) as running:
        yield running


@pytest.fixture
def desk(server: SandboxServer, clock: FakeClock, tmp_path: Path) -> Desk:
    desk = new_desk(server, clock, tmp_path)
    desk.write("sandbox-echo", "sandbox-echo")
    return desk


def assert_one_batch(desk: Desk) -> None:
    assert len(desk.live()) == 1
    assert [row["batch_id"] for row in desk.rows()] == desk.live() * 2
    assert desk.outcomes() == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    "takes_over",
    [
        pytest.param(lambda desk: desk.advance("2"), id="successor-waits"),
        pytest.param(lambda desk: desk.finish("2", delete_remote_files=False), id="successor-finished"),
    ],
)
def test_a_late_paid_call_of_a_superseded_try_is_cancelled(desk: Desk, takes_over: Callable[[Desk], object]) -> None:
    """A try is suspended before its paid call, its successor pays, then the call goes out: its twin is cancelled at once."""
    probe = on_call("before POST /batches", lambda: takes_over(desk))

    with pytest.raises(SupersededError, match="Another try of this task has taken over"):
        desk.advance("1", probe=probe)
    desk.finish("2", resumes=True)

    assert len(desk.batches()) == 2
    assert_one_batch(desk)


def test_a_late_paid_call_after_the_successors_cleanup_is_refused(desk: Desk) -> None:
    """When the successor has finished and tidied up, the late call has no input any more, and the try stops."""
    with pytest.raises(SupersededError):
        desk.advance("1", probe=on_call("before POST /batches", lambda: desk.finish("2")))

    assert len(desk.batches()) == 1
    assert_one_batch(desk)


class SlowNetwork(httpx.BaseTransport):
    """A network that holds a worker's paid call back, and delivers it when the worker is long dead."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport(verify=False)
        self._held: httpx.Request | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/batches"):
            request.read()
            self._held = request
            raise WorkerCrash("the paid call is under way")
        return self._inner.handle_request(request)

    def deliver(self) -> None:
        assert self._held is not None
        with self._inner:
            self._inner.handle_request(self._held).read()


def test_a_paid_call_that_arrives_between_the_successors_look_and_its_own_wins(desk: Desk) -> None:
    """The older batch wins, though the successor made its own before it knew; that one is cancelled at once."""
    network = SlowNetwork()
    with pytest.raises(WorkerCrash):
        desk.advance("1", network=network)

    desk.advance("2", probe=on_call("before POST /batches", network.deliver))
    desk.finish("2", resumes=True)

    assert [batch["status"] for batch in desk.batches()] == ["completed", "cancelled"]
    assert_one_batch(desk)


def test_a_resumed_try_that_was_superseded_sends_nothing(desk: Desk) -> None:
    """A deferred try that comes back after its successor began stops before it asks the service anything."""
    desk.advance("1")
    desk.advance("2")
    before = desk.calls()

    with pytest.raises(SupersededError, match="Nothing is lost"):
        desk.advance("1", resumes=True)

    assert desk.calls() == before


@pytest.mark.parametrize("part", range(PARTS))
def test_a_worker_thought_dead_may_wake_after_its_successor_finished(
    server: SandboxServer, clock: FakeClock, tmp_path: Path, part: int
) -> None:
    """Wherever a try is suspended while its successor does everything, no second batch lives and the results stay."""
    for number in itertools.count(part, PARTS):
        desk = new_desk(server, clock, tmp_path / str(number), metadata=SOME_FAIL)
        desk.write(*MODELS)
        sleeper = Sleeper(number, desk, partial(desk.finish, "2"))

        end = sleeper.run()

        if not sleeper.point:
            break
        assert isinstance(end, SupersededError | None), sleeper.point
        assert len(desk.live()) == NEEDED_BATCHES, sleeper.point
        assert desk.results == sleeper.results, sleeper.point
    assert number > 8 * PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_a_worker_thought_dead_may_wake_while_its_successor_waits(
    server: SandboxServer, clock: FakeClock, tmp_path: Path, part: int
) -> None:
    """Wherever a try is suspended while its successor takes the run over, the successor ends it as if alone."""
    for number in itertools.count(part, PARTS):
        desk = new_desk(server, clock, tmp_path / str(number), metadata=SOME_FAIL)
        desk.write(*MODELS)
        sleeper = Sleeper(number, desk, partial(desk.advance, "2"))

        end = sleeper.run()

        if not sleeper.point:
            break
        assert isinstance(end, SupersededError | None), sleeper.point
        desk.finish("2", resumes=desk.journal()["attempt"] == "2")
        assert len(desk.live()) == NEEDED_BATCHES, sleeper.point
        assert desk.outcomes() == ["succeeded", "failed", "succeeded"], sleeper.point
    assert number > 8 * PARTS


@pytest.mark.parametrize("name", ["results.jsonl", "failures.jsonl", "summary.json"])
@pytest.mark.parametrize(
    "models", [pytest.param(MODELS, id="linked"), pytest.param((*MODELS, "sandbox-fail-429"), id="two-rounds")]
)
def test_a_worker_thought_dead_never_publishes_over_its_successors_results(
    desk: Desk, name: str, models: tuple[str, ...]
) -> None:
    """Suspended just before a file appears while another input was run to its end: what it made is not published."""
    desk.write(*models)
    options: dict[str, Any] = {"keep_run_files": True, "on_changed_input": "restart"}

    published: dict[str, bytes] = {}
    begun: list[str] = []

    def probe(point: str) -> None:
        # A summary is written while the run goes on too; the one meant comes behind the results.
        is_at_the_end = name == "results.jsonl" or desk.results is not None
        if point == f"before write {name}" and is_at_the_end and not begun:
            begun.append(point)
            desk.write(*reversed(models), *models)
            desk.finish("2", **options)
            published.update(outputs(desk))

    with dying_worker(desk.output, probe), pytest.raises(SupersededError):
        desk.finish("1", **options)

    assert outputs(desk) == published
    assert len(desk.rows()) == 2 * len(models)


def outputs(desk: Desk) -> dict[str, bytes]:
    """What a run leaves for its users."""
    return {path.name: path.read_bytes() for path in desk.output.glob("*.json*") if not path.name.startswith(".")}


class Sleeper:
    """
    A try that is suspended before one of its effects while something else happens.

    :param number: Which effect, from 0.
    :param desk: Its run.
    :param meanwhile: What happens.
    """

    def __init__(self, number: int, desk: Desk, meanwhile: Callable[[], object]) -> None:
        self.point = ""
        self.results: bytes | None = None
        self._left = number
        self._desk = desk
        self._meanwhile = meanwhile

    def run(self) -> Exception | None:
        """Let the try go to its end; return why it stopped."""
        with dying_worker(self._desk.output, self._probe):
            try:
                self._desk.finish("1", probe=self._probe)
            except Exception as error:  # noqa: BLE001 - the test says which are right
                return error
        return None

    def _probe(self, point: str) -> None:
        if self.point or not point.startswith("before "):
            return
        if self._left == 0:
            self.point = point
            self._meanwhile()
            self.results = self._desk.results
        self._left -= 1
