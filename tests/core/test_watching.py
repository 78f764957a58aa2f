from __future__ import annotations

from collections.abc import Iterable

import pytest

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Done, KeepWaiting, TimedOut, Watch
from tests.core.support import NOW, batch

POLICY = WatchPolicy(poll_interval=30, max_poll_interval=300)
DAY = 86_400.0


def watching(ids: Iterable[str] = ("batch_1",), *, deadline: float = DAY, policy: WatchPolicy = POLICY) -> Watch:
    return Watch(ids, started_at=NOW, deadline_at=NOW + deadline, policy=policy)


def pause(watch: Watch, now: float, jitter: float = 0.5) -> float:
    decision = watch.decide(now, jitter=jitter)
    assert isinstance(decision, KeepWaiting)
    return decision.look_again_at - now


@pytest.mark.parametrize("status", [status for status in BatchStatus if status.has_ended])
def test_ended_is_done(status: BatchStatus) -> None:
    """Whatever the end was, waiting is over."""
    watch = watching()
    watch.observe(batch(status=status), NOW)

    assert watch.decide(NOW, jitter=0.5) == Done()
    assert watch.open_ids() == ()


@pytest.mark.parametrize("status", [status for status in BatchStatus if not status.has_ended])
def test_running_cancelling_and_unknown_wait(status: BatchStatus) -> None:
    """Cancelling still settles and an unknown word may be a new state: both are waited out until the deadline."""
    watch = watching()
    watch.observe(batch(status=status), NOW)

    assert isinstance(watch.decide(NOW, jitter=0.5), KeepWaiting)
    assert watch.decide(NOW + DAY, jitter=0.5) == TimedOut(("batch_1",))


def test_an_unseen_batch_is_open() -> None:
    """Before the first answer nothing is known, and nothing is assumed."""
    watch = watching(("a", "b", "a"))

    assert watch.open_ids() == ("a", "b")
    assert isinstance(watch.decide(NOW, jitter=0.5), KeepWaiting)


def test_done_comes_before_the_deadline() -> None:
    """A batch that is found ended after the deadline (the triggerer was down) is good news, not a timeout."""
    watch = watching(deadline=10)
    watch.observe(batch(status=BatchStatus.COMPLETED), NOW + 99)

    assert watch.decide(NOW + 99, jitter=0.5) == Done()


def test_the_deadline_names_the_open_batches() -> None:
    """Of several batches only those that run are billed on."""
    watch = watching(("a", "b", "c"), deadline=10)
    watch.observe(batch("a", BatchStatus.COMPLETED), NOW)
    watch.observe(batch("b"), NOW)

    assert watch.decide(NOW + 10, jitter=0.5) == TimedOut(("b", "c"))


def test_a_batch_that_ended_stays_ended_for_the_others() -> None:
    """Waiting ends when the last of several has ended, in any order."""
    watch = watching(("a", "b"))
    watch.observe(batch("b", BatchStatus.FAILED), NOW)
    assert watch.open_ids() == ("a",)
    watch.observe(batch("a", BatchStatus.COMPLETED), NOW)

    assert watch.decide(NOW, jitter=0.5) == Done()
    assert list(watch.seen) == ["b", "a"]


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, 30), (600, 30), (1_200, 60), (3_600, 180), (6_000, 300), (80_000, 300)],
)
def test_the_pause_grows_with_the_age(age: float, expected: float) -> None:
    """A twentieth of the age, between the shortest and the longest pause."""
    watch = watching()
    watch.observe(batch(), NOW)

    assert pause(watch, NOW + age) == pytest.approx(expected)


def test_the_age_survives_a_restart() -> None:
    """A new process knows the age from the service's own time, instead of beginning with short pauses again."""
    watch = watching(("a", "b"))
    watch.observe(batch("a", created_at=NOW - 3_600), NOW)
    watch.observe(batch("b", created_at=NOW - 60), NOW)

    assert pause(watch, NOW) == pytest.approx(180)


def test_ended_batches_have_no_age() -> None:
    """An old batch that has ended does not slow down the wait for a young one."""
    watch = watching(("a", "b"))
    watch.observe(batch("a", BatchStatus.COMPLETED, created_at=NOW - 9_999), NOW)
    watch.observe(batch("b", created_at=NOW), NOW)

    assert pause(watch, NOW) == pytest.approx(30)


def test_a_long_poll_interval_is_kept() -> None:
    """Who asks for a look every ten minutes gets that, not the default longest pause."""
    watch = watching(policy=WatchPolicy(poll_interval=600))
    watch.observe(batch(), NOW)

    assert pause(watch, NOW) == pytest.approx(600)
    assert pause(watch, NOW + 50_000) == pytest.approx(600)


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 27), (0.5, 30), (1.0, 33)])
def test_jitter_spreads_by_a_tenth(jitter: float, expected: float) -> None:
    """Waiters that began together drift apart, none by more than a tenth."""
    assert pause(watching(), NOW, jitter) == pytest.approx(expected)


def test_no_look_comes_after_the_deadline() -> None:
    """The last look is at the deadline; just before it there is at least a second."""
    watch = watching(deadline=100)

    assert pause(watch, NOW + 90) == pytest.approx(10)
    assert pause(watch, NOW + 99.5) == pytest.approx(1)


def moving(done: int, at: float) -> Watch:
    """A watch over 1,000 requests that began at zero and has ``done`` after ``at`` seconds."""
    watch = watching()
    watch.observe(batch(counts=(1_000, 0, 0)), NOW)
    watch.observe(batch(counts=(1_000, done - 1, 1)), NOW + at)
    return watch


def test_the_pause_shrinks_near_the_end() -> None:
    """Half of the estimated rest, so that the end is noticed soon."""
    watch = moving(990, 6_000)

    assert watch.seconds_left(NOW + 6_000) == pytest.approx(60.6, abs=0.1)
    assert pause(watch, NOW + 6_000) == pytest.approx(30.3, abs=0.1)
    assert pause(moving(500, 6_000), NOW + 6_000) == pytest.approx(300)
    assert pause(moving(1_000, 6_000), NOW + 6_000) == pytest.approx(30)


def test_finalizing_is_looked_at_often() -> None:
    """The end is near whatever the counts say."""
    watch = watching()
    watch.observe(batch(status=BatchStatus.FINALIZING), NOW)

    assert pause(watch, NOW + 6_000) == pytest.approx(30)


def test_pace_is_measured_since_all_were_seen() -> None:
    """What was done before the wait began does not make the pace look better."""
    watch = watching(("a", "b"))
    watch.observe(batch("a", counts=(100, 50, 0)), NOW)
    assert watch.pace(NOW + 10) is None
    watch.observe(batch("b", counts=(100, 0, 0)), NOW + 10)
    assert watch.pace(NOW + 10) is None
    assert watch.pace(NOW + 20) is None
    watch.observe(batch("b", counts=(100, 20, 0)), NOW + 20)

    assert watch.pace(NOW + 20) == pytest.approx(2)
    assert watch.done() == 70
    assert watch.seconds_left(NOW + 20) == pytest.approx(65)


@pytest.mark.parametrize("counts", [None, (0, 0, 0)])
def test_there_is_no_estimate_without_counts(counts: tuple[int, int, int] | None) -> None:
    """One batch that has not been counted makes every estimate a guess."""
    watch = watching(("a", "b"))
    for second, done in ((0, 0), (10, 5)):
        watch.observe(batch("a", counts=(100, done, 0)), NOW + second)
        watch.observe(batch("b", counts=counts), NOW + second)

    assert watch.pace(NOW + 10) == pytest.approx(0.5)
    assert watch.seconds_left(NOW + 10) is None


def test_counts_that_lie_do_not_end_or_break_the_wait() -> None:
    """More done than there are, or fewer than before: only the status says whether a batch has ended."""
    watch = moving(3_000, 10)
    assert watch.seconds_left(NOW + 10) == 0
    assert isinstance(watch.decide(NOW + 10, jitter=0.5), KeepWaiting)
    watch.observe(batch(counts=(1_000, 0, 0)), NOW + 20)

    assert watch.pace(NOW + 20) is None


def test_a_watch_says_what_it_is() -> None:
    """The state can be read in a debugger or log."""
    watch = watching(("a", "b"))
    watch.observe(batch("a", BatchStatus.COMPLETED), NOW)
    watch.miss("b", "no answer", NOW, is_outage=True)

    assert repr(watch) == "<Watch 2 batches, 1 open, 1 in trouble>"
    assert isinstance(watch.seen["a"], Batch)


def test_enough_have_ended() -> None:
    """Whoever can go on with some of the batches is woken a while after the first end; 0: at once; None: never."""
    for any_after, at_once, later in ((0.0, Done(), Done()), (600.0, None, Done()), (None, None, None)):
        watch = Watch(["a", "b"], started_at=NOW, deadline_at=NOW + 9_000, policy=WatchPolicy(), any_after=any_after)
        assert watch.verdict(NOW + 8_000) is None
        watch.observe(batch("a", BatchStatus.COMPLETED), NOW)
        watch.observe(batch("b", BatchStatus.IN_PROGRESS), NOW)

        assert (watch.verdict(NOW), watch.verdict(NOW + 600)) == (at_once, later)


def test_the_verdict_comes_without_news() -> None:
    """A waiter that hears nothing any more knows when to look at the clock: deadline, patience, enough."""
    watch = Watch(["a", "b"], started_at=NOW, deadline_at=NOW + 9_000, policy=WatchPolicy(), any_after=600)
    assert watch.verdict_at() == NOW + 9_000

    watch.miss("a", "gone", NOW, is_outage=True)
    assert watch.verdict_at() == NOW + 3_600
    watch.miss("b", "no", NOW, is_outage=False)
    assert watch.verdict_at() == NOW + 300
    watch.observe(batch("b", BatchStatus.COMPLETED), NOW)
    assert watch.verdict_at() == NOW + 600
