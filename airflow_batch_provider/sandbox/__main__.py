"""``python -m airflow_batch_provider.sandbox``: a sandbox in the foreground."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from pathlib import Path

import msgspec

from airflow_batch_provider.sandbox.faults import Fault
from airflow_batch_provider.sandbox.server import SandboxServer

USAGE_ERROR = 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_batch_provider.sandbox",
        description="A local server with the shape of OpenAI's files and batches; nothing leaves this machine.",
    )
    parser.add_argument("--port", type=int, default=8000, help="where to listen; 0 picks a free port (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--dir", type=Path, help="keep files and batches here (a temporary directory, removed at exit)")
    parser.add_argument("--time-scale", type=positive, default=1.0, help="how many times faster batches run (1.0)")
    parser.add_argument("--api-key", help="refuse requests without this bearer token")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds every request waits (0)")
    parser.add_argument("--seed", type=int, help="make ids, row orders and dice repeatable")
    parser.add_argument("--quiet", action="store_true", help="do not log requests to stderr")
    parser.add_argument(
        "--fault",
        type=parse_fault,
        action="append",
        default=[],
        metavar="ROUTE:KIND:RATE[:NAME=VALUE,...]",
        help="misbehave, such as 'POST /batches:lost_answer:0.1' or 'GET /batches:status:0.2:status=429,retry_after=1'",
    )
    return parser


def positive(text: str) -> float:
    """Return the positive number ``text`` spells."""
    number = float(text)
    if number <= 0:
        raise ValueError(text)
    return number


def parse_fault(text: str) -> Fault:
    """
    Return the fault ``text`` describes.

    :param text: ``ROUTE:KIND:RATE``, and options after another colon.
    :raises argparse.ArgumentTypeError: it describes none.
    """
    route, kind, rate, options = (*text.split(":", 3), "", "", "", "")[:4]
    pairs = [pair.partition("=") for pair in options.split(",") if pair]
    fields = {"route": route, "kind": kind, "rate": rate or "1", **{name: value for name, _, value in pairs}}
    try:
        return msgspec.convert(fields, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """
    Run a sandbox until a signal ends it.

    :param arguments: The command line; None: the process's own.
    """
    options = build_parser().parse_args(arguments)
    try:
        server = SandboxServer(
            options.port,
            options.host,
            directory=options.dir,
            time_scale=options.time_scale,
            api_key=options.api_key,
            latency=options.latency,
            seed=options.seed,
            log=not options.quiet,
        )
    except (OSError, OverflowError) as error:
        hint = " --port 0 picks a free port." if getattr(error, "errno", None) == errno.EADDRINUSE else ""
        print(f"Cannot start on {options.host}:{options.port}: {error}.{hint}", file=sys.stderr)
        return USAGE_ERROR
    server.faults.replace(options.fault)
    _serve(server)
    return 0


def _serve(server: SandboxServer) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server:
        print(f"Sandbox on {server.url} (no account, nothing leaves this machine)", flush=True)
        stop.wait()


if __name__ == "__main__":
    sys.exit(main())
