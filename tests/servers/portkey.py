"""The open-source Portkey gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.node import find_node, npm_packages
from tests.servers.process import Server, answers, free_port, running

PORTKEY_VERSION = "1.15.2"
PINS = Path(__file__).parent / "pins"


@contextmanager
def portkey_gateway(port: int | None = None, *, unpinned: bool = False) -> Iterator[Server]:
    """
    Run the gateway. It has no upstream of its own: requests name one, see :func:`upstream_headers`.

    It listens on all interfaces; it has no option to do otherwise.

    :param port: The port, or nothing for any free one.
    :param unpinned: Run what a plain ``npm install`` gives, whose ``/files/{id}/content`` always answers 500.
    :raises Unavailable: it cannot be installed here.
    """
    name = "portkey-unpinned" if unpinned else "portkey"
    node = find_node(name)
    script = npm_packages(name, PINS / name, node) / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    # Without --headless it streams request headers, keys included, to whoever asks for /log/stream.
    command: list[str | Path] = [node.node, script, "--headless", f"--port={port}"]
    with running(command, ready=answers(address), name=name) as process:
        yield Server(f"{name} {PORTKEY_VERSION}", f"{address}/v1", process, model="")


def upstream_headers(url: str) -> dict[str, str]:
    """
    Return the headers that send a request on to an OpenAI-style upstream.

    :param url: The upstream's base address, with ``/v1``. Loopback addresses are accepted, other private ones not.
    """
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": url.rstrip("/")}
