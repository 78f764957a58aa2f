"""How long a service may not answer: by time and kind of error, never by their number."""

from __future__ import annotations

import pytest

from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.core.watching import Done, GaveUp, KeepWaiting, TimedOut, Watch
from tests.core.support import NOW, batch

POLICY = WatchPolicy(poll_interval=10, outage_patience=3_600, refusal_patience=300)


def watching(*ids: str, deadline: float = 86_400, policy: WatchPolicy = POLICY) -> Watch:
    return Watch(ids or ("a",), started_at=NOW, deadline_at=NOW + deadline, policy=policy)


def waits(watch: Watch, at: float) -> bool:
    return isinstance(watch.decide(NOW + at, jitter=0.5), KeepWaiting)


@pytest.mark.parametrize(("is_outage", "patience"), [(True, 3_600), (False, 300)])
def test_each_kind_of_error_has_its_patience(is_outage: bool, patience: float) -> None:
    """An outage may last an hour, a refusal is shown to a person after five minutes."""
    watch = watching()
    watch.miss("a", "first", NOW, is_outage=is_outage)
    watch.miss("a", "last", NOW + 100, is_outage=is_outage)

    assert waits(watch, patience - 1)
    assert watch.decide(NOW + patience, jitter=0.5) == GaveUp(("a",), "last")


def test_a_thousand_errors_in_a_minute_are_one_minute() -> None:
    """Patience is time, not a number of tries."""
    watch = watching()
    for number in range(1_000):
        watch.miss("a", "no", NOW + number * 0.06, is_outage=False)

    assert waits(watch, 60)


def test_an_answer_ends_the_trouble() -> None:
    """Blips hours apart never add up."""
    watch = watching()
    for hour in range(5):
        watch.miss("a", "no", NOW + hour * 3_600, is_outage=True)
        watch.observe(batch("a"), NOW + hour * 3_600 + 60)

    assert waits(watch, 20_000)


def test_a_refusal_after_an_outage_has_its_own_patience() -> None:
    """A service that comes back and refuses once (the key is being rotated) is not given up at that first answer."""
    watch = watching()
    watch.miss("a", "down", NOW, is_outage=True)
    watch.miss("a", "down", NOW + 600, is_outage=True)
    watch.miss("a", "refused", NOW + 700, is_outage=False)

    assert waits(watch, 701)
    assert waits(watch, 999)
    assert watch.decide(NOW + 1_000, jitter=0.5) == GaveUp(("a",), "refused")


def test_outages_and_refusals_in_turn_end_too() -> None:
    """Trouble of any kind lasts no longer than the longer patience."""
    watch = watching()
    for number in range(40):
        watch.miss("a", "no", NOW + number * 100, is_outage=number % 2 == 0)
        if number * 100 < 3_600:
            assert waits(watch, number * 100)

    assert watch.decide(NOW + 3_900, jitter=0.5) == GaveUp(("a",), "no")


def test_a_longer_patience_for_refusals_is_kept() -> None:
    """The policy is the caller's: refusals may be waited out longer than outages."""
    watch = watching(policy=WatchPolicy(outage_patience=10, refusal_patience=500))
    watch.miss("a", "no", NOW, is_outage=False)

    assert waits(watch, 499)


def test_the_first_miss_in_a_row_is_told() -> None:
    """A person reads one line per row of misses, and again after an answer in between."""
    watch = watching()

    assert watch.miss("a", "no", NOW, is_outage=True)
    assert not watch.miss("a", "no", NOW + 1, is_outage=False)
    watch.observe(batch("a"), NOW + 2)
    assert watch.miss("a", "no", NOW + 3, is_outage=True)


def test_of_several_batches_the_hopeless_are_named() -> None:
    """The others go on well, but nobody can say how this one ends."""
    watch = watching("a", "b", "c")
    watch.observe(batch("a"), NOW)
    watch.observe(batch("c", BatchStatus.COMPLETED), NOW)
    watch.miss("b", "unknown id", NOW, is_outage=False)

    assert watch.decide(NOW + 300, jitter=0.5) == GaveUp(("b",), "unknown id")


def test_a_batch_that_ended_is_never_hopeless() -> None:
    """What was seen ended needs no more answers."""
    watch = watching()
    watch.miss("a", "no", NOW, is_outage=False)
    watch.observe(batch("a", BatchStatus.EXPIRED), NOW + 1)

    assert watch.decide(NOW + 9_999, jitter=0.5) == Done()


def test_the_deadline_comes_before_giving_up() -> None:
    """After the deadline the task says so, whatever the last answers were."""
    watch = watching(deadline=100)
    watch.miss("a", "no", NOW, is_outage=False)

    assert watch.decide(NOW + 400, jitter=0.5) == TimedOut(("a",))


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [(None, 10), (0, 10), (5, 10), (120, 120), (10_000_000, 3_600)],
    ids=["none", "zero", "shorter", "longer", "absurd"],
)
def test_retry_after_is_obeyed(retry_after: float | None, expected: float) -> None:
    """A service that wants a longer pause gets it, up to an hour."""
    watch = watching()
    watch.miss("a", "429", NOW, is_outage=True, retry_after=retry_after)
    decision = watch.decide(NOW, jitter=0.5)

    assert isinstance(decision, KeepWaiting)
    assert decision.look_again_at == pytest.approx(NOW + expected)


def test_retry_after_never_passes_the_deadline() -> None:
    """Our own deadline is ours."""
    watch = watching(deadline=50)
    watch.miss("a", "429", NOW, is_outage=True, retry_after=120)

    assert watch.decide(NOW, jitter=0.5) == KeepWaiting(NOW + 50)


def test_nobody_gives_up_before_the_service_wants_to_be_asked() -> None:
    """A Retry-After as long as the patience: the wait lasts until the question after it could be answered."""
    watch = Watch(["a"], started_at=NOW, deadline_at=NOW + 90_000, policy=WatchPolicy())
    watch.miss("a", "slow down", NOW, is_outage=True, retry_after=3_600)

    assert watch.verdict(NOW + 3_600) is None
    assert watch.verdict_at() > NOW + 3_960
    assert isinstance(watch.verdict(watch.verdict_at()), GaveUp)


def test_of_an_ended_batch_nothing_more_is_known() -> None:
    """What others hear of a batch that ended before is no trouble: nobody is woken again and again because of it."""
    watch = watching("a", "b")
    watch.observe(batch("a", BatchStatus.COMPLETED), NOW)

    assert not watch.miss("a", "the key is refused", NOW + 10, is_outage=False)

    assert watch.verdict_at() == NOW + 86_400
    assert waits(watch, 1_000)


def test_recovery_ends_the_trouble_before_the_answer() -> None:
    """When the service can be asked again, the patience of those who wait for their turn begins anew."""
    watch = watching()
    watch.miss("a", "refused", NOW, is_outage=False)
    watch.recover("a")

    assert waits(watch, 1_000)
    watch.recover("a")  # said twice does no harm
