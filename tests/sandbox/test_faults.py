from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from airflow_batch_provider.sandbox.faults import Fault, Faults


def test_a_fault_hits_its_route_only() -> None:
    """Other routes are left alone; a star is every route."""
    faults = Faults()
    faults.add("POST /batches", "drop")
    faults.add("*", "latency", seconds=0)

    assert [fault.kind for fault in faults.draw("POST /batches")] == ["drop", "latency"]
    assert [fault.kind for fault in faults.draw("GET /batches")] == ["latency"]


def test_times_counts_hits() -> None:
    """After its last hit a fault is gone; equal ones are used up one by one."""
    faults = Faults()
    faults.add("GET /files", "drop", times=2)
    hits = [len(faults.draw("GET /files")) for _ in range(3)]

    assert hits == [1, 1, 0]
    assert faults.all() == []


def test_rates_are_dice_with_a_seed() -> None:
    """The same seed hits the same requests, about as many as the rate says."""
    first, second = Faults(5), Faults(5)
    for faults in (first, second):
        faults.add("GET /files", "drop", rate=0.3)
    hits = [bool(first.draw("GET /files")) for _ in range(1_000)]

    assert hits == [bool(second.draw("GET /files")) for _ in range(1_000)]
    assert 250 < sum(hits) < 350


def test_two_equal_faults_are_two() -> None:
    """With dice one of them may hit and the other not; only the one that hit is used up."""
    faults = Faults(1)
    for _ in range(2):
        faults.add("GET /files", "drop", rate=0.5, times=1)
    hits = 0
    while faults.all():
        hits += len(faults.draw("GET /files"))

    assert hits == 2


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "explode"}, {"rate": 2}, {"times": 0}, {"status": 99}, {"at": -1}, {"unknown": 1}, {"seconds": "long"}],
)
def test_impossible_faults_are_refused(wrong: dict[str, Any]) -> None:
    """A typo is an error, not a fault that never happens."""
    with pytest.raises(msgspec.ValidationError):
        Faults().add(**{"route": "GET /files", "kind": "drop", **wrong})


def test_faults_can_be_replaced_and_cleared() -> None:
    """The text of the collection shows what is set."""
    faults = Faults()
    faults.replace([Fault(route="GET /files", kind="drop")])
    assert repr(faults) == "<Faults [GET /files: drop]>"

    faults.clear()

    assert repr(faults) == "<Faults []>"


def test_threads_share_a_count() -> None:
    """Ten threads together get the hits there are."""
    faults = Faults()
    faults.add("GET /files", "drop", times=50)
    hits: list[int] = []
    threads = [
        threading.Thread(target=lambda: hits.extend(len(faults.draw("GET /files")) for _ in range(20)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(hits) == 50
