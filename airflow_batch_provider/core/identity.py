"""
Who made a batch, written so that the service itself can be asked.

A retry that does not know whether its predecessor's create call worked looks for the *key* among the service's
batches. The key goes into the batch's metadata; beside it the Airflow ids in clear, for
people who look at the service's console.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ConfigurationError

KEY_FIELD = "airflow_key"
# The OpenAI reference: 16 pairs, keys up to 64 characters, values up to 512.
MAX_METADATA_PAIRS = 16
MAX_METADATA_VALUE = 512
OWN_METADATA_PAIRS = 5


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """
    The task instance a batch belongs to; the same for all its tries.

    :param dag_id: DAG.
    :param task_id: Task.
    :param run_id: DAG run.
    :param map_index: Index of a mapped task, -1 for others.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} run {self.run_id}"

    def key(self, *parts: Any) -> str:
        """
        A short key for one paid call of this task instance.

        :param parts: Plain values that make the call what it is; other values are another call.
        """
        text = json.dumps([self.dag_id, self.task_id, self.run_id, self.map_index, *parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def metadata_with_key(user: Mapping[str, Any], identity: TaskIdentity, key: str) -> dict[str, str]:
    """
    A batch's metadata: the user's pairs, the key and the Airflow ids.

    :param user: The user's own pairs.
    :param identity: The task instance.
    :param key: See :meth:`TaskIdentity.key`.
    :raises ConfigurationError: More pairs or longer values than services take.
    """
    check_metadata(user)
    own = {
        KEY_FIELD: key,
        "airflow_dag_id": identity.dag_id[:MAX_METADATA_VALUE],
        "airflow_task_id": identity.task_id[:MAX_METADATA_VALUE],
        "airflow_run_id": identity.run_id[:MAX_METADATA_VALUE],
        "airflow_map_index": str(identity.map_index),
    }
    return {**user, **own}


def check_metadata(user: Mapping[str, Any]) -> None:
    """
    Check the user's own pairs, before anything is planned or sent.

    :param user: The pairs.
    :raises ConfigurationError: More pairs or longer values than services take.
    """
    room = MAX_METADATA_PAIRS - OWN_METADATA_PAIRS
    if len(user) > room:
        raise ConfigurationError(
            f"`metadata` has {len(user)} pairs, but there is room for {room}: services take {MAX_METADATA_PAIRS}, and "
            f"{OWN_METADATA_PAIRS} are needed to find the batch again after a crash."
        )
    for name, value in user.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        if not is_text or len(value) > MAX_METADATA_VALUE or len(name) > 64:
            raise ConfigurationError(
                f'`metadata["{str(name)[:64]}"]` must be a string of at most {MAX_METADATA_VALUE} characters, with a '
                "name of at most 64."
            )


@dataclass(frozen=True, slots=True)
class Search:
    """
    What a look through the service's list found.

    :param found: Batches with the key, oldest first.
    :param is_conclusive: True when every batch that could be ours was seen and told its metadata, so that "not found"
        means "not there".
    """

    found: tuple[Batch, ...]
    is_conclusive: bool


class KeySearch:
    """
    Looks for a key in pages of a service's list.

    :param key: The key.
    :param created_after: Epoch seconds before which the batch cannot have been created.
    """

    # Clocks of worker and service may differ.
    CLOCK_SLACK_SECONDS = 3600.0

    def __init__(self, key: str, created_after: float) -> None:
        self._key = key
        self._oldest_useful = created_after - self.CLOCK_SLACK_SECONDS
        self._found: dict[str, Batch] = {}
        self._last_created: float | None = None
        self._is_newest_first = True
        self._has_descended = False
        self._took_any = False
        self._told_any = False
        self._reached_older = False

    def feed(self, batches: Iterable[Batch]) -> bool:
        """
        Take a page.

        :param batches: Its batches, in the service's order.
        :returns: False when later pages can only hold older batches.
        """
        for batch in batches:
            self._take(batch)
        return not self._is_past_window()

    def end(self, *, has_seen_all: bool) -> Search:
        """
        End the search.

        :param has_seen_all: True when the list was read to its end.
        """
        complete = has_seen_all or self._is_past_window()
        found = list(self._found.values())
        if self._is_newest_first:
            found.reverse()  # times are whole seconds; among equal ones the list's own order says who was first
        oldest_first = sorted(found, key=lambda batch: (batch.created_at is None, batch.created_at or 0))
        # A service that never tells metadata (Bedrock, Vertex behind a gateway) cannot say that a key is absent.
        return Search(tuple(oldest_first), complete and (self._told_any or not self._took_any))

    def _is_past_window(self) -> bool:
        # A list is newest first when it has gone down and never up; a single old batch says nothing about the order.
        return self._is_newest_first and self._has_descended and self._reached_older

    def _take(self, batch: Batch) -> None:
        created = batch.created_at.timestamp() if batch.created_at else None
        if created is not None:
            if self._last_created is not None:
                self._is_newest_first = self._is_newest_first and created <= self._last_created
                self._has_descended = self._has_descended or created < self._last_created
            self._last_created = created
            if created < self._oldest_useful:
                self._reached_older = True
                return
        self._took_any = True
        self._told_any = self._told_any or batch.metadata is not None
        if batch.metadata and batch.metadata.get(KEY_FIELD) == self._key:
            self._found[batch.id] = batch


def can_be_adopted(batch: Batch) -> bool:
    """
    Say whether a retry should take this batch instead of making a new one: it runs, or it completed.

    :param batch: A batch of the same call.
    """
    return batch.status is BatchStatus.COMPLETED or not batch.status.has_ended
