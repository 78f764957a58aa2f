"""
Many triggers in one event loop, as a triggerer has them: ``python -m benchmarks.waiting_worker NAME URL COUNT LIMIT FILE``.

Runs in the peers' environment too, so it imports nothing of this project but the probe. What it measured goes to FILE as
JSON, because triggers log to the standard output.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import math
import os
import signal
import sys
import time
import urllib.request
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.waiting_probe import LagProbe, forget_peak, memory

INTERVAL_SECONDS = 5
DEADLINE_SECONDS = 86_400
# What a trigger's first step would load: not the price of waiting, and paid once in a triggerer.
LIBRARIES = {
    "ours": ("airflow_batch_provider.client",),
    "openai": ("openai.resources.batches",),
    "common-ai": ("openai.resources.batches", "airflow.providers.common.ai.batch.openai"),
}
Make = Callable[[str], Any]


def ours(url: str) -> Make:
    _connect("batch", url)
    from airflow_batch_provider.triggers.batch import BatchTrigger

    deadline_at = time.time() + DEADLINE_SECONDS
    return lambda batch_id: BatchTrigger("waiting", [batch_id], deadline_at, poll_interval=INTERVAL_SECONDS)


def openai(url: str) -> Make:
    _connect("openai", url)
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return lambda batch_id: OpenAIBatchTrigger(
        conn_id="waiting", batch_id=batch_id, poll_interval=INTERVAL_SECONDS, timeout=DEADLINE_SECONDS
    )


def common_ai(url: str) -> Make:
    _connect("pydanticai", url)
    from airflow.providers.common.ai.triggers.llm_batch import LLMBatchTrigger

    end_time = time.time() + DEADLINE_SECONDS
    return lambda batch_id: LLMBatchTrigger(
        llm_conn_id="waiting",
        adapter="openai",
        batch_id=batch_id,
        poll_interval=INTERVAL_SECONDS,
        end_time=end_time,
        timeout=DEADLINE_SECONDS,
        cancel_on_kill=True,
        cancel_on_timeout=False,
    )


def _connect(conn_type: str, url: str) -> None:
    parts = {"conn_type": conn_type, "host": url, "password": "nobody-checks-it"}
    os.environ["AIRFLOW_CONN_WAITING"] = json.dumps(parts)


class Measurement:
    """
    One run: when each batch was noticed, and what noticing took.

    :param count: How many batches.
    :param target: File for the result.
    """

    def __init__(self, count: int, target: Path) -> None:
        self.noticed = array("d", [math.nan]) * count
        self.others: Counter[str] = Counter()
        self._target = target
        gc.collect()
        self._resident = forget_peak()
        self._began, self._cpu = time.time(), time.process_time()
        self.probe = LagProbe()

    async def follow(self, number: int, trigger: Any) -> None:
        """Run a trigger to its end, as a triggerer does."""
        try:
            async for event in trigger.run():
                outcome = event.payload.get("outcome") or event.payload["status"]
                if outcome in ("ended", "success"):
                    self.noticed[number] = time.time()
                else:
                    self.others[f"{outcome}: {event.payload.get('message') or event.payload.get('reason')}"] += 1
        except Exception as error:  # noqa: BLE001 - one trigger's failure is a figure, not the end of the measurement
            self.others[f"{type(error).__name__}: {error}"] += 1

    def leave(self, *_: Any) -> None:
        """Write the result and end the process, from wherever the loop is."""
        self.probe.catch_up()
        result = {
            "seconds": time.time() - self._began,
            "stopped_at": time.time(),
            "cpu_seconds": time.process_time() - self._cpu,
            "grown_bytes": memory("VmHWM") - self._resident,
            "lag_ms": self.probe.spread(),
            "noticed": [None if math.isnan(moment) else moment for moment in self.noticed],
            "others": self.others.most_common(5),
        }
        self._target.write_text(json.dumps(result))
        sys.stdout.flush()
        os._exit(0)


async def run(measurement: Measurement, make: Make, count: int) -> None:
    loop = asyncio.get_running_loop()
    watching = loop.create_task(measurement.probe.run())
    tasks = []
    for number in range(count):
        tasks.append(loop.create_task(measurement.follow(number, make(f"batch_{number:032x}"))))
        await asyncio.sleep(0)  # as Airflow's triggerer does between two triggers
    await asyncio.gather(*tasks)
    watching.cancel()
    measurement.leave()


def main(name: str, url: str, count: int, limit: float, target: Path) -> None:
    make = {"ours": ours, "openai": openai, "common-ai": common_ai}[name](url)
    for library in LIBRARIES[name]:
        importlib.import_module(library)
    urllib.request.urlopen(f"{url}/start").close()
    measurement = Measurement(count, target)
    # A blocked loop cannot end itself in time; a signal reaches it also in the middle of a blocking call.
    signal.signal(signal.SIGALRM, measurement.leave)
    signal.setitimer(signal.ITIMER_REAL, limit)
    asyncio.run(run(measurement, make, count))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
