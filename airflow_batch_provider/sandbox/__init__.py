"""
The sandbox: a local server with the shape of OpenAI's ``/v1/files`` and ``/v1/batches``.

It is a stand-in to try things against: no account, no cost, nothing leaves this machine. There is no model behind
it; answers are simple functions of the requests. Batches take seconds instead of hours, end the way their metadata
asks for, and every route can be made to misbehave on demand. The demo, the tests and the benchmarks use it.

It imports nothing of the rest of the package, on purpose: what the provider believes about the API and what the
sandbox does were written apart, so one mistake cannot hide by being made twice.

From a shell::

    python -m airflow_batch_provider.sandbox --port 8000 --time-scale 10

From a test::

    with SandboxServer(time_scale=100) as sandbox:
        sandbox.faults.add("POST /batches", "lost_answer", times=1)
        client = openai.OpenAI(base_url=sandbox.url, api_key="any")

A batch's own metadata steers it (:class:`~airflow_batch_provider.sandbox.directives.Directives` has the list), and a
row's model steers the row: ``sandbox-echo``, ``sandbox-sentiment``, ``sandbox-template:<text with {input} {index}
{custom_id}>``, ``sandbox-embedding``, ``sandbox-fail-400`` (or any other status), ``sandbox-missing-model``. Every
other name answers like ``sandbox-echo``.
"""

from __future__ import annotations

from airflow_batch_provider.sandbox.app import Sandbox, create_app
from airflow_batch_provider.sandbox.faults import Fault, Faults
from airflow_batch_provider.sandbox.server import SandboxServer
from airflow_batch_provider.sandbox.settings import Durations, Limits, Settings

__all__ = ["Durations", "Fault", "Faults", "Limits", "Sandbox", "SandboxServer", "Settings", "create_app"]
