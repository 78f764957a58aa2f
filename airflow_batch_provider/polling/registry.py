"""Which poller serves whom: one per event loop and connection."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from airflow_batch_provider.core.patience import WatchPolicy
from airflow_batch_provider.polling.keeper import LoadSettings
from airflow_batch_provider.polling.poller import Poller
from airflow_batch_provider.polling.subscription import Subscription

CROWD = 1000

_frozen_at = 0
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


def join(
    name: str,
    load: LoadSettings,
    batch_ids: Sequence[str],
    policy: WatchPolicy,
    since: float,
    not_before: float = 0.0,
) -> Subscription:
    """
    Wait for batches together with everybody else in this event loop who uses the same connection.

    :param name: The connection.
    :param load: Reads the connection; that of the first who comes is used for all.
    :param batch_ids: The batches.
    :param policy: How often to look.
    :param since: Epoch seconds when waiting began.
    :param not_before: Epoch seconds of the first look; nothing is told sooner.
    :returns: To be given back with :func:`leave`.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    if name not in pollers:
        pollers[name] = Poller(name, load)
    subscription = pollers[name].subscribe(batch_ids, policy, since, not_before)
    _freeze_if_crowded()
    return subscription


async def leave(name: str, subscription: Subscription) -> None:
    """
    Wait no longer. The last one to leave ends the poller, and waits for its end.

    :param name: The connection.
    :param subscription: What :func:`join` returned.
    """
    pollers = _pollers[asyncio.get_running_loop()]
    poller = pollers[name]
    poller.unsubscribe(subscription)
    if poller.is_idle:
        # Out of the table first: who comes while it ends gets a new one.
        del pollers[name]
        await poller.stop()


def _freeze_if_crowded() -> None:
    """
    Spare the garbage collector what stays, each time the crowd has doubled; only where thousands wait.

    Every few thousand waits that come cause a full collection, and going through Airflow's own 160,000 objects and those
    of all waits stops the loop for a tenth of a second or two. Airflow's executor and DAG processor do the same.
    """
    global _frozen_at  # noqa: PLW0603 - the collector is the process's, and so is this
    if (crowd := awaited_here()) >= max(CROWD, 2 * _frozen_at):
        _frozen_at = crowd
        gc.freeze()


def awaited_here() -> int:
    """How many batches are awaited in this event loop."""
    return sum(len(poller) for poller in _pollers.get(asyncio.get_running_loop(), {}).values())
