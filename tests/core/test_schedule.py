"""When each watched batch is due."""

from __future__ import annotations

import pytest

from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.schedule import SLACK_ITEMS, Schedule
from airflow_batch_provider.core.status import BatchStatus
from tests.core.support import NOW, batch

POLICY = WatchPolicy(poll_interval=30, max_poll_interval=300)
ALL = 1_000_000


def schedule(*batch_ids: str, due_at: float = NOW, jitter: float = 0.5) -> Schedule:
    """Build a schedule; the middle of the jitter changes nothing."""
    made = Schedule(lambda: jitter)
    for batch_id in batch_ids:
        made.add(batch_id, POLICY, since=NOW, due_at=due_at)
    return made


def look(planned: Schedule, now: float, **seen: object) -> list[str]:
    """Take what is due, and look at it."""
    taken = planned.due(now, ALL)
    for watched in taken:
        watched.see(batch(watched.id, **seen), now)  # type: ignore[arg-type]
        planned.looked(watched, now)
    return [watched.id for watched in taken]


def test_due_when_its_time_has_come() -> None:
    """Nothing is looked at before it is due; the time of the next look is known."""
    planned = schedule("a", due_at=NOW + 10)

    assert planned.due(NOW + 9, ALL) == []
    assert planned.next_due_at() == NOW + 10
    assert look(planned, NOW + 10) == ["a"]
    assert planned.next_due_at() == NOW + 40


def test_what_began_together_stays_together() -> None:
    """Batches due within a fifth of the pause are looked at together; later ones are left for their own time."""
    planned = schedule("a")
    planned.add("b", POLICY, since=NOW, due_at=NOW + 5)
    planned.add("c", POLICY, since=NOW, due_at=NOW + 7)

    assert look(planned, NOW) == ["a", "b"]
    assert look(planned, NOW + 7) == ["c"]


def test_jitter_is_one_for_a_look() -> None:
    """Spread moves a whole look, at most a tenth to either side, and never tears its batches apart."""
    early, late = schedule("a", "b", jitter=0.0), schedule("a", "b", jitter=1.0)
    for planned in (early, late):
        look(planned, NOW)

    assert (early.next_due_at(), late.next_due_at()) == (NOW + 27, NOW + 33)
    assert look(early, NOW + 27) == ["a", "b"]


def test_the_longest_overdue_comes_first() -> None:
    """When there is time for a few only, they are those that waited longest; what is given back keeps its place."""
    planned = Schedule(lambda: 0.5)
    for number in range(10):
        planned.add(f"b{number}", POLICY, since=NOW, due_at=NOW - number)

    first = planned.due(NOW, 3)
    for watched in first:
        planned.give_back(watched)

    assert [watched.id for watched in first] == ["b9", "b8", "b7"]
    assert [watched.id for watched in planned.due(NOW, 3)] == ["b9", "b8", "b7"]


@pytest.mark.parametrize(
    ("age", "pause"), [(0, 30), (600, 30), (2_000, 100), (100_000, 300)], ids=["new", "young", "old", "very-old"]
)
def test_pauses_grow_with_age(age: float, pause: float) -> None:
    """A twentieth of the age, between the shortest and the longest pause."""
    planned = schedule("a", due_at=NOW + age)
    look(planned, NOW + age)

    assert planned.next_due_at() == NOW + age + pause


def test_a_batch_that_is_nearly_done_is_looked_at_more_often() -> None:
    """Counts tell when the end is near, and "finalizing" says so."""
    planned = schedule("a", due_at=NOW + 7_000)
    look(planned, NOW + 7_000, counts=(1_000, 0, 0))
    assert planned.next_due_at() == NOW + 7_300

    look(planned, NOW + 7_300, counts=(1_000, 900, 0))  # 3 a second: 33 seconds left
    assert planned.next_due_at() == NOW + 7_330

    look(planned, NOW + 7_330, status=BatchStatus.FINALIZING)
    assert planned.next_due_at() == NOW + 7_360


def test_the_most_eager_decides() -> None:
    """Two tasks wait for one batch: it is looked at once, as often as the more eager one asks."""
    planned = schedule("a", due_at=NOW + 20)
    planned.add("a", WatchPolicy(poll_interval=5), since=NOW, due_at=NOW + 1)

    assert len(planned) == 1
    assert look(planned, NOW + 1) == ["a"]
    assert planned.next_due_at() == NOW + 6
    planned.add("a", POLICY, since=NOW, due_at=NOW + 100)
    assert planned.next_due_at() == NOW + 6


def test_a_batch_under_a_look_is_not_taken_twice() -> None:
    """While it is being asked for, nobody else's subscription makes it due."""
    planned = schedule("a")
    (taken,) = planned.due(NOW, ALL)
    planned.add("a", POLICY, since=NOW, due_at=NOW)

    assert planned.due(NOW, ALL) == []
    planned.looked(taken, NOW)
    assert planned.next_due_at() == NOW + 30


def test_removed_batches_leave_nothing() -> None:
    """What comes and goes a hundred thousand times leaves no heap of old dates."""
    planned = schedule("stays", due_at=NOW + 1_000)
    for number in range(10_000):
        planned.add(f"b{number}", POLICY, since=NOW, due_at=NOW + 50)
        planned.remove(f"b{number}")

    assert len(planned) == 1
    assert len(planned._heap) <= 2 * SLACK_ITEMS
    assert planned.next_due_at() == NOW + 1_000


def test_looks_leave_nothing() -> None:
    """A long wait does not grow."""
    planned = schedule("a", "b")
    now = NOW
    for _ in range(10_000):
        now = planned.next_due_at() or now
        look(planned, now)

    assert len(planned._heap) <= 2 * SLACK_ITEMS


def test_news_is_what_changed() -> None:
    """The first answer, a new status, new counts; not the same again."""
    planned = schedule("a")
    (watched,) = planned.due(NOW, ALL)

    assert watched.see(batch("a"), NOW)
    assert not watched.see(batch("a"), NOW + 1)
    assert watched.see(batch("a", counts=(10, 1, 0)), NOW + 2)
    assert watched.see(batch("a", BatchStatus.FINALIZING, counts=(10, 1, 0)), NOW + 3)


def test_counts_alone_are_told_now_and_then() -> None:
    """Between two news of counts only lies the gap; a new status is told at once; nothing is told twice."""
    planned = schedule("a")
    (watched,) = planned.due(NOW, ALL)
    told = [
        watched.see(batch("a", counts=(10, done, 0)), NOW + seconds, min_gap=60)
        for seconds, done in ((0, 0), (30, 1), (59, 2), (60, 3), (90, 4), (125, 4), (300, 4))
    ]

    assert told == [True, False, False, True, False, True, False]
    assert watched.see(batch("a", BatchStatus.FINALIZING, counts=(10, 4, 0)), NOW + 301, min_gap=60)
