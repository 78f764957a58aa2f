"""aimock: a mock of the OpenAI platform whose batches end as they are told to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.node import find_node, npm_packages
from tests.servers.process import Server, answers, free_port, running

AIMOCK_VERSION = "1.43.0"
OUTCOME_HEADER = "x-aimock-batch-outcome"
PINS = Path(__file__).parent / "pins" / "aimock"


@contextmanager
def aimock_server(port: int | None = None, *, options: Sequence[str] = ()) -> Iterator[Server]:
    """
    Run aimock, empty at the start.

    A batch moves only when it is retrieved: first to ``in_progress``, then to its end. Lists do not move it. The
    end is ``completed`` unless the create request carried :data:`OUTCOME_HEADER` with ``failed``, ``expired`` or
    ``cancelled``. Rows are not run: each gets the same canned answer.

    :param port: The port, or nothing for any free one.
    :param options: Further command-line options, such as ``("--chaos-ratelimit", "0.2")``.
    :raises Unavailable: it cannot be installed here.
    """
    node = find_node("aimock")
    script = npm_packages("aimock", PINS, node) / "@copilotkit" / "aimock" / "dist" / "cli.js"
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [node.node, script, "--port", str(port), "--fixtures", PINS / "fixtures.json", *options]
    with running(command, ready=answers(f"{address}/health"), name="aimock") as process:
        yield Server(f"aimock {AIMOCK_VERSION}", f"{address}/v1", process, model="echo")
