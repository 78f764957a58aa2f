"""Waiting in tests."""

from __future__ import annotations

import time

from airflow_batch_provider.client import BatchClient
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.waiting import wait_for_batches


def ended(client: BatchClient, batch: Batch) -> Batch:
    """
    Wait, a few seconds at most, until a batch has ended.

    :param client: The service.
    :param batch: The batch.
    """
    now = time.time()
    policy = WatchPolicy(poll_interval=0.02, max_poll_interval=0.05)
    (found,) = wait_for_batches(client, Watch([batch.id], started_at=now, deadline_at=now + 20, policy=policy))
    return found
