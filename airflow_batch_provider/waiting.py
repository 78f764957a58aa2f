"""Waiting in a worker: the blocking twin of the trigger, over the same decisions."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.progress import ProgressReporter
from airflow_batch_provider.core.standing import Standing
from airflow_batch_provider.core.watching import Decision, Done, GaveUp, KeepWaiting, TimedOut, Watch
from airflow_batch_provider.exceptions import (
    ApiError,
    ApiStatusError,
    BatchError,
    BatchTimeoutError,
    JobError,
    WaitingFailedError,
)

log = logging.getLogger(__name__)


def wait_for_batches(
    client: BatchClient,
    watch: Watch,
    *,
    standing: Standing | None = None,
    tell: Callable[[Iterable[Batch]], None] | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> list[Batch]:
    """
    Wait until all batches of a watch have ended, or enough of them.

    :param client: The service.
    :param watch: The batches, the deadline and the patience.
    :param standing: The run that waits, for the log; None for a wait of its own.
    :param tell: Called with the batches when there is news of them.
    :param clock: Epoch seconds.
    :param sleep: Waits.
    :param jitter: Random numbers from 0 to 1.
    :returns: The batches as last seen, in the watch's order; those never seen are left out.
    :raises BatchTimeoutError: The deadline passed; the batches go on.
    :raises WaitingFailedError: The service could not be asked for too long; the batches go on.
    """
    reporter = ProgressReporter(watch, standing)
    while True:
        for batch_id in watch.open_ids():
            try:
                watch.observe(client.get_batch(batch_id), clock())
            except ApiError as error:
                if note_miss(watch, batch_id, error, clock()):
                    log.warning("%s Waiting goes on.", error)
        if line := reporter.next_line(clock()):
            log.info(line)
            if tell is not None:
                tell(watch.seen.values())
        decision = watch.decide(clock(), jitter=jitter())
        if not isinstance(decision, KeepWaiting):
            if failure := waiting_error(decision, watch.deadline_at, len(watch.batch_ids)):
                raise failure
            return [watch.seen[batch_id] for batch_id in watch.batch_ids if batch_id in watch.seen]
        sleep(max(0.0, decision.look_again_at - clock()))


def note_miss(watch: Watch, batch_id: str, error: BatchError, now: float) -> bool:
    """
    Tell a watch that a batch could not be asked.

    :param watch: The watch.
    :param batch_id: The batch.
    :param error: Why.
    :param now: Epoch seconds.
    :returns: True when this is the first miss in a row.
    """
    retry_after = error.retry_after if isinstance(error, ApiStatusError) else None
    return watch.miss(batch_id, str(error), now, is_outage=error.retryable, retry_after=retry_after)


def waiting_error(decision: Decision, deadline_at: float, total: int) -> JobError | None:
    """
    Turn the end of a wait into an exception.

    :param decision: The last decision.
    :param deadline_at: The wait's deadline, epoch seconds.
    :param total: How many batches were waited for.
    :returns: None when all ended.
    """
    match decision:
        case TimedOut(batch_ids):
            return timeout_error(batch_ids, deadline_at, total)
        case GaveUp(batch_ids, reason):
            return gave_up_error(batch_ids, reason)
        case Done() | KeepWaiting():
            return None


def timeout_error(
    batch_ids: Iterable[str], deadline_at: float, total: int, standing: Standing | None = None
) -> BatchTimeoutError:
    """
    Build the exception for a deadline that passed.

    :param batch_ids: Batches that have not ended.
    :param deadline_at: The deadline, epoch seconds.
    :param total: How many batches were waited for.
    :param standing: The run that waited for them, all of whose batches then count; None for a wait of its own.
    """
    ids = tuple(batch_ids)
    total = total if standing is None else standing.shards
    moment = datetime.fromtimestamp(deadline_at, UTC).strftime("%Y-%m-%dT%H:%MZ")
    safe = f" The finished rows ({standing.done:,}) are safe." if standing and standing.done else ""
    if not ids:
        return BatchTimeoutError(
            f"The service took no batch until {moment}: its queue is full, or it wants fewer calls. Nothing is running "
            f"now.{safe} A retry sends what is left."
        )
    which = f"Batch {ids[0]}" if total == 1 else f"{len(ids)} of {total} batches ({_some(ids)})"
    it = "it is" if len(ids) == 1 else "they are"
    # What was cancelled goes again like anything that did not succeed.
    ends = " and set max_rounds=1, so that a retry sends nothing again" if standing else ""
    return BatchTimeoutError(
        f"{which} did not end by {moment}; {it} still running and billed.{safe} A retry waits again. To give up, cancel with "
        f"CancelBatchOperator{ends}.",
        ids,
    )


def gave_up_error(batch_ids: Iterable[str], reason: str) -> WaitingFailedError:
    """
    Build the exception for batches that could not be asked.

    :param batch_ids: The batches.
    :param reason: Why.
    """
    ids = tuple(batch_ids)
    noun = f"Batch {ids[0]}" if len(ids) == 1 else f"{len(ids)} batches ({_some(ids)})"
    return WaitingFailedError(
        f"{noun} could not be asked for too long: {reason} The work goes on at the service and is billed; a retry "
        "re-attaches to it.",
        ids,
    )


def _some(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
