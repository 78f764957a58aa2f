"""
200 deferred batches in a whole Airflow (PostgreSQL, two triggerers, LocalExecutor), and what may happen to it meanwhile.

The tests share one wave and run in order. Before each fault some batches are about to end: that their tasks go on
afterwards shows that looking goes on, and that no other task moves shows that nothing else happened.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_batch_provider.client import BatchClient, ServiceSettings
from tests.live.airflow import connection, wait_until
from tests.live.deployment import Deployment
from tests.live.service import Service, ends_after
from tests.live.wave import SETTLE_SECONDS, Task, Wave
from tests.samples import create_batch, jsonl, request

# Steps of the service's time at which the batches of some tasks end; the last is that of all others.
KILLED, PAUSED, RESTARTED, AWAY, LAST = 1, 2, 3, 4, 5
FAULTS = [KILLED, PAUSED, RESTARTED, AWAY]
QUICK = [0] * 30
CREATED = [*QUICK, *FAULTS * 5, *[LAST] * 130]
INFERRED = [*FAULTS, *[LAST] * 36]
SENSED = [LAST] * 10
ORPHANED = "batch_orphaned"
MANY = 60
PAUSE_SECONDS = 40
AWAY_SECONDS = 120


@pytest.fixture(scope="module")
def orphan(deployed: Deployment, service: Service, jobs: dict[str, int]) -> str:
    """
    Give a run whose task waited over a connection that somebody deleted meanwhile.

    It is made before the wave, because the patience with a refusal takes some minutes.
    """
    body = json.loads(connection(service.url)) | {"connection_id": ORPHANED}
    deployed.call("POST", "/connections", body | {"extra": json.dumps(body["extra"])})
    with BatchClient(ServiceSettings.from_parts(host=service.url)) as client:
        file_id = create_batch(client, sandbox="outcome=failed").input_file_id
    run_id = deployed.trigger("live_connection", {"file_id": file_id, "sandbox": "stall=true", "conn_id": ORPHANED})
    deployed.wait_for_task("live_connection", run_id, "wait", {"deferred"})
    said = "running: "  # the trigger has looked once
    wait_until(lambda: said in deployed.log("live_connection", run_id, "wait"), "the trigger has looked", pause=3)
    deployed.call("DELETE", f"/connections/{ORPHANED}", ok=(204,))
    return run_id


@pytest.fixture(scope="module")
def wave(orphan: str, begun_wave: Wave) -> Wave:
    """Give the wave, all its tasks deferred."""
    begun_wave.wait_until_deferred(600)
    return begun_wave


def test_batches_that_end_at_once_fail_no_task(wave: Wave) -> None:
    """A trigger that fires right after the deferral, under a busy scheduler, costs no task its only try."""
    quick = [wave.instances()["created", index] for index, step in enumerate(CREATED) if step == 0]

    assert Counter((each["state"], each["try_number"]) for each in quick) == {("success", 1): len(QUICK)}


def test_waiting_costs_little(
    wave: Wave, deployed: Deployment, service: Service, record_property: Callable[[str, object], None]
) -> None:
    """200 waiting tasks, each with 10 s between looks, take little of a processor and less than a call each a minute."""
    seconds = 60
    before, looks = [part.usage() for part in deployed.triggerers], service.looks
    time.sleep(seconds)
    after, looks = [part.usage() for part in deployed.triggerers], service.looks - looks
    for part, old, new in zip(deployed.triggerers, before, after, strict=True):
        share = (new.cpu_seconds - old.cpu_seconds) / seconds
        record_property(f"{part.name} share of a processor", round(share, 3))
        sizes = [size // 2**20 for size in new.rss_bytes]
        record_property(f"{part.name} MB of each process", sizes)
        print(f"{part.name}: {share:.1%} of a processor, processes of {sizes} MB")
        assert share < 0.3
    print(f"looks a minute: {looks * 60 / seconds:.0f}, calls so far: {dict(service.calls)}")
    record_property("looks a minute", looks * 60 / seconds)
    assert 0 < looks * 60 / seconds < len(wave.open_tasks())


def test_killed_triggerer(wave: Wave, deployed: Deployment, jobs: dict[str, int]) -> None:
    """After kill -9 of a triggerer the other one waits for its batches too."""
    victim, other = deployed.triggerers
    assert wave.waiters()[jobs[victim.name]] > 0

    victim.kill()

    wave.wait_until_with({jobs[other.name]})
    wave.let_end(KILLED)
    wave.check_nothing_was_cancelled()
    jobs[victim.name] = deployed.start_triggerer(victim)


def test_paused_triggerer(wave: Wave, deployed: Deployment, jobs: dict[str, int]) -> None:
    """A triggerer that stalls for 40 s and comes back finds its batches taken over, and cancels none of them."""
    victim, other = sorted(deployed.triggerers, key=lambda part: -wave.waiters()[jobs[part.name]])
    told = len(victim.log())
    assert wave.waiters()[jobs[victim.name]] > 100

    victim.pause()
    try:
        time.sleep(PAUSE_SECONDS)
        moved = wave.waiters()[jobs[other.name]]
    finally:
        victim.go_on()

    assert moved > 0, "the other triggerer took nothing over, so this shows nothing"
    wave.wait_until_with(set(jobs.values()))
    time.sleep(SETTLE_SECONDS)
    assert len(victim.log()) > told, "the paused triggerer did not come back"
    wave.check_nothing_was_cancelled()
    wave.let_end(PAUSED)
    wave.check_nothing_was_cancelled()


def test_both_triggerers_restarted(wave: Wave, deployed: Deployment, jobs: dict[str, int]) -> None:
    """Both triggerers may be stopped and started: waiting goes on and nothing is cancelled."""
    for part in deployed.triggerers:
        part.stop()
    for part in deployed.triggerers:
        jobs[part.name] = deployed.start_triggerer(part)

    wave.wait_until_with(set(jobs.values()))
    wave.let_end(RESTARTED)
    wave.check_nothing_was_cancelled()


def test_service_away_for_two_minutes(wave: Wave, service: Service) -> None:
    """A service that refuses connections for two minutes fails no task; waiting goes on when it is back."""
    service.down()
    try:
        time.sleep(AWAY_SECONDS)
    finally:
        service.up()
    looks = service.looks

    wait_until(lambda: service.looks > looks, "somebody looks again", 120)
    wave.let_end(AWAY)
    wave.check_nothing_was_cancelled()


@pytest.mark.parametrize("task", [("created", CREATED.index(LAST)), ("inferred", INFERRED.index(LAST))])
def test_cleared_task(wave: Wave, task: Task) -> None:
    """A cleared task waits for the same batch again: nothing is cancelled, nothing paid twice."""
    batch = wave.batch_of(task)

    wave.clear(task)

    wait_until(lambda: wave.instances()[task]["try_number"] == 2, "the second try has begun", 120, pause=3)
    wave.wait_until_deferred(120)
    time.sleep(SETTLE_SECONDS)
    assert wave.batch_of(task)["id"] == batch["id"]
    wave.check_nothing_was_cancelled()


@pytest.mark.parametrize("task", [("created", CREATED.index(LAST) + 1), ("inferred", INFERRED.index(LAST) + 1)])
def test_marked_failed(wave: Wave, task: Task) -> None:
    """Marking a waiting task failed cancels its batch, and only its batch."""
    wave.mark_failed(task)

    wait_until(lambda: wave.batch_of(task)["status"] == "cancelled", "the batch is cancelled", 60)
    time.sleep(SETTLE_SECONDS)
    wave.check_nothing_was_cancelled()


def test_everything_ends(wave: Wave) -> None:
    """At the end all tasks have succeeded in their first try, and each has paid for exactly one batch."""
    wave.let_end(LAST, 600)
    wave.check_paid_once()


def test_run_of_several_shards_and_rounds(
    deployed: Deployment, service: Service, jobs: dict[str, int], tmp_path: Path
) -> None:
    """A run over three shards and two rounds, with a triggerer killed in each, makes one batch per shard and round."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes(jsonl([request(number) for number in range(30)]))
    conf = {"input": str(source), "output": str(output), "sandbox": f"{ends_after(1)} fail_rows=0.5 fail_code=429"}
    run_id = deployed.trigger("live_rounds", conf)
    for batches, victim in zip([3, 5], deployed.triggerers, strict=True):
        wait_for_batches(service, run_id, batches)
        deployed.wait_for_task("live_rounds", run_id, "run", {"deferred"})
        victim.kill()
        jobs[victim.name] = deployed.start_triggerer(victim)
        service.step()

    assert deployed.wait_for_run("live_rounds", run_id, 240) == "success"
    made = service.batches(run_id=run_id)
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"row-{number}" for number in range(30)]
    assert len({batch["metadata"]["airflow_key"] for batch in made}) == len(made) == 5
    assert {batch["status"] for batch in made} == {"completed"}
    assert deployed.task("live_rounds", run_id, "run")["try_number"] == 1


def test_run_marked_failed(deployed: Deployment, service: Service, jobs: dict[str, int], tmp_path: Path) -> None:
    """Marking a whole run failed cancels the batches of all its waiting tasks, however many."""
    wave = Wave(deployed, service, tmp_path, created=[1] * MANY, inferred=[1], sensed=[1])
    wave.begin()
    wave.wait_until_deferred(240)
    wave.wait_until_with(set(jobs.values()))
    before = service.cancels

    deployed.call("PATCH", wave.path, {"state": "failed"})

    own = MANY + 1  # a sensor did not make its batch, so it leaves it
    wait_until(lambda: service.cancels - before >= own, f"{own} batches are cancelled", 60)
    time.sleep(SETTLE_SECONDS)
    assert service.cancels - before == own
    assert {batch["status"] for batch in service.batches(run_id=wave.run_id)} == {"cancelled"}


def test_deleted_connection(deployed: Deployment, orphan: str) -> None:
    """A task whose connection is deleted while it waits fails, and says which connection is missing."""
    state = deployed.wait_for_task("live_connection", orphan, "wait", {"failed", "success"}, 420)

    log = deployed.log("live_connection", orphan, "wait")
    assert state == "failed"
    assert ORPHANED in log
    assert "Unhandled" not in log


def wait_for_batches(service: Service, run_id: str, count: int) -> None:
    """
    Wait until a run has made so many batches.

    :param service: The service.
    :param run_id: The DAG run.
    :param count: How many.
    """
    wait_until(lambda: len(service.batches(run_id=run_id)) == count, f"there are {count} batches", 120)
