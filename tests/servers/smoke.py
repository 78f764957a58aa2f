"""
Start a server, walk through it and print what was seen: ``python -m tests.servers.smoke portkey|ogx|aimock``.

For people who bump a version: compare the output with the table in README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.servers.aimock import OUTCOME_HEADER, aimock_server
from tests.servers.flow import Walk, walk_all
from tests.servers.model_stub import model_stub
from tests.servers.ogx import ogx_server
from tests.servers.portkey import portkey_gateway, upstream_headers
from tests.servers.process import Server, answers, free_port, running

KEY = "sk-smoke"


def main() -> None:
    """Read the command line and take the walk."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.smoke", description=__doc__)
    parser.add_argument("server", choices=("portkey", "portkey-unpinned", "ogx", "aimock"))
    parser.add_argument("--upstream", choices=("sandbox", "ogx", "aimock"), default="sandbox", help="behind portkey")
    options = parser.parse_args()
    began = time.monotonic()
    with _server(options.server, options.upstream) as (server, headers):
        print(f"# {server.name} at {server.url}, up after {time.monotonic() - began:.1f} s")
        with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as http:
            walk = Walk(http, server.model)
            walk_all(walk)
            if options.server == "aimock":
                _forced_outcomes(walk)
        began = time.monotonic()
    print(f"\nstopped after {time.monotonic() - began:.1f} s, code {server.process.popen.returncode}")


@contextmanager
def _server(name: str, upstream: str) -> Iterator[tuple[Server, dict[str, str]]]:
    headers = {"Authorization": f"Bearer {KEY}"}
    if name == "aimock":
        with aimock_server() as server:
            yield server, headers
    elif name == "ogx":
        with model_stub() as model, ogx_server(model) as server:
            yield server, headers
    elif name == "sandbox":
        with _sandbox() as server:
            yield server, headers
    else:
        with _server(upstream, "") as (behind, _), portkey_gateway(unpinned=name != "portkey") as gateway:
            front = Server(f"{gateway.name} before {behind.name}", gateway.url, gateway.process, behind.model)
            yield front, headers | upstream_headers(behind.url)


@contextmanager
def _sandbox() -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "airflow_batch_provider.sandbox", "--port", str(port), "--time-scale", "4"]
    url = f"http://127.0.0.1:{port}/v1"
    with running(command, ready=answers(f"{url}/batches"), name="sandbox") as process:
        yield Server("sandbox", url, process, model="echo")


def _forced_outcomes(walk: Walk) -> None:
    walk.say("\n## forced outcomes")
    for outcome in ("failed", "expired", "cancelled", "nope"):
        walk.create_headers = {OUTCOME_HEADER: outcome}
        file_id = walk.upload(walk.lines(["x", "y"])).json()["id"]
        created = walk.create(file_id)
        if not created.is_success:
            walk.note(outcome, created)
            continue
        batch, statuses = walk.ended(created.json()["id"])
        walk.note(outcome, f"{statuses} {batch}")
        if batch.get("error_file_id"):
            walk.note(f"{outcome}, error file", walk.http.get(f"/files/{batch['error_file_id']}/content"))


if __name__ == "__main__":
    main()
