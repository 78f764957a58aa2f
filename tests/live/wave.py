"""A wave of deferred batches over a deployment: who waits, where, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_batch_provider.client import BatchClient, ServiceSettings
from tests.live.airflow import wait_until
from tests.live.deployment import Deployment
from tests.live.service import OPEN, Batch, Service, ends_after
from tests.samples import create_batch, jsonl, request

DAG = "live_wave"
# A triggerer that is told of a kill acts within some seconds; so long one looks that nothing is cancelled.
SETTLE_SECONDS = 15
Task = tuple[str, int]


@dataclass
class Wave:
    """
    One run of ``live_wave``.

    :param deployed: The deployment.
    :param service: The service.
    :param folder: Where inputs and outputs are.
    :param created: For each ``created`` task the step of the service's time at which its batch ends; 0: within
        seconds.
    :param inferred: The same for each ``inferred`` task.
    :param sensed: The same for each ``sensed`` task.
    """

    deployed: Deployment
    service: Service
    folder: Path
    created: Sequence[int]
    inferred: Sequence[int]
    sensed: Sequence[int]
    run_id: str = ""
    began_at: int = 0
    marked: set[Task] = field(default_factory=set)
    cleared: set[Task] = field(default_factory=set)

    def begin(self) -> None:
        """Start the run; its steps count from now."""
        self.began_at = self.service.steps
        (self.folder / "one.jsonl").write_bytes(jsonl([request(1)]))
        with BatchClient(ServiceSettings.from_parts(host=self.service.url)) as client:
            file_id = str(create_batch(client, sandbox="outcome=failed").input_file_id)
            sensed = [create_batch(client, sandbox=_order(step)).id for step in self.sensed]
        conf = {
            "file_id": file_id,
            "folder": str(self.folder),
            "created": [_order(step) for step in self.created],
            "inferred": [_order(step) for step in self.inferred],
            "sensed": sensed,
        }
        self.run_id = self.deployed.trigger(DAG, conf)

    @property
    def path(self) -> str:
        """The run's path in the REST API."""
        return f"/dags/{DAG}/dagRuns/{self.run_id}"

    def steps(self) -> dict[Task, int]:
        """Return for each waiting task the step at which its batch ends."""
        kinds = {"created": self.created, "inferred": self.inferred, "sensed": self.sensed}
        return {(name, index): step for name, kind in kinds.items() for index, step in enumerate(kind)}

    def instances(self) -> dict[Task, dict[str, Any]]:
        """Return the waiting tasks' instances, as Airflow shows them."""
        found = self.deployed.call("GET", f"{self.path}/taskInstances?limit=1000")["task_instances"]
        waiting = self.steps()
        return {key: each for each in found if (key := (each["task_id"], each["map_index"])) in waiting}

    def open_tasks(self) -> set[Task]:
        """Return the tasks whose batches still run by the test's own book-keeping."""
        passed = self.service.steps - self.began_at
        return {task for task, step in self.steps().items() if step > passed} - self.marked

    def wait_until_deferred(self, seconds: float) -> None:
        """
        Wait until exactly the tasks whose batches run are deferred, and all others have succeeded.

        :param seconds: At most this long.
        """

        def is_reached() -> bool:
            now = self.instances()
            wrong = {task for task, each in now.items() if each["state"] == "failed"} - self.marked
            assert not wrong, f"failed: {wrong}"
            still = self.open_tasks()
            return all(
                each["state"] == ("deferred" if task in still else "failed" if task in self.marked else "success")
                for task, each in now.items()
            ) and len(now) == len(self.steps())

        self._wait(is_reached, "the open tasks are deferred and the others have ended", seconds)

    def waiters(self) -> Counter[int | None]:
        """Count the deferred tasks of each triggerer job."""
        deferred = [each for each in self.instances().values() if each["state"] == "deferred" and each["trigger"]]
        return Counter(each["trigger"]["triggerer_id"] for each in deferred)

    def wait_until_with(self, jobs: set[int], seconds: float = 120) -> None:
        """
        Wait until every deferred task is with one of these triggerers.

        :param jobs: Their jobs.
        :param seconds: At most this long.
        """

        def is_reached() -> bool:
            now = self.waiters()
            return set(now) <= jobs and now.total() == len(self.open_tasks())

        self._wait(is_reached, f"all triggers are with {jobs}", seconds)

    def let_end(self, step: int, seconds: float = 240) -> None:
        """
        Let the service's time pass to a step; see that just the tasks of the batches that end there go on.

        :param step: The step.
        :param seconds: How long the tasks may take.
        """
        while self.service.steps - self.began_at < step:
            self.service.step()
        self.wait_until_deferred(seconds)

    def batch_of(self, task: Task) -> Batch:
        """
        Return the one batch a task has made.

        :param task: The task.
        """
        found = self.service.batches(run_id=self.run_id, task_id=task[0], map_index=str(task[1]))
        assert len(found) == 1, f"{task} made {len(found)} batches"
        return found[0]

    def clear(self, task: Task) -> None:
        """
        Clear a task, as a person does who wants it to run again.

        :param task: The task.
        """
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task], "only_failed": False}
        self.deployed.call("POST", f"/dags/{DAG}/clearTaskInstances", body)
        self.cleared.add(task)

    def mark_failed(self, task: Task) -> None:
        """
        Mark a task failed, as a person does who gives it up.

        :param task: The task.
        """
        self.deployed.call("PATCH", f"{self.path}/taskInstances/{task[0]}/{task[1]}", {"new_state": "failed"})
        self.marked.add(task)

    def check_nothing_was_cancelled(self) -> None:
        """See that no batch was cancelled but those of tasks that were marked failed, and that all open ones run."""
        told = f"{self.service.cancels} cancels were asked for, {len(self.marked)} tasks were marked failed"
        assert self.service.cancels == len(self.marked), told
        wrong = [
            task for task in self.open_tasks() if task[0] != "sensed" and self.batch_of(task)["status"] not in OPEN
        ]
        assert not wrong

    def check_paid_once(self) -> None:
        """See that every task has ended as it should, in as few tries as it should, with one batch and its rows."""
        found = self.instances()
        ended = Counter(each["state"] for each in found.values())
        tries = {task: each["try_number"] for task, each in found.items() if each["try_number"] != 1}
        made = [batch["metadata"] for batch in self.service.batches(run_id=self.run_id)]
        makers = Counter((each["airflow_task_id"], int(each["airflow_map_index"])) for each in made)
        assert ended == {"success": len(found) - len(self.marked), "failed": len(self.marked)}, ended
        assert tries == dict.fromkeys(self.cleared, 2), tries
        paid = [task for task in self.steps() if task[0] != "sensed"]
        assert makers == dict.fromkeys(paid, 1), f"not one batch each: {Counter(makers) - Counter(paid)}"
        for index in range(len(self.inferred)):
            results = self.folder / str(index) / "results.jsonl"
            assert results.exists() == (("inferred", index) not in self.marked)
            assert not results.exists() or len(results.read_text().splitlines()) == 1

    def _wait(self, probe: Callable[[], bool], what: str, seconds: float) -> None:
        try:
            wait_until(probe, what, seconds, pause=5)
        except AssertionError as error:
            states = Counter((task[0], each["state"]) for task, each in self.instances().items())
            raise AssertionError(f"{error} Now: {dict(states)}, triggerers {dict(self.waiters())}.") from error


def _order(step: int) -> str:
    return ends_after(step) if step else "seconds=1"
