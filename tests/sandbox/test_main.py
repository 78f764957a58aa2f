from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import airflow_batch_provider
from airflow_batch_provider.sandbox import Fault, SandboxServer
from airflow_batch_provider.sandbox.__main__ import build_parser, main, parse_fault

ROOT = Path(airflow_batch_provider.__file__).parent.parent


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "airflow_batch_provider.sandbox", "--port", "0", "--quiet", "--api-key", "k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_on_a_signal(program: subprocess.Popen[str], number: signal.Signals) -> None:
    """One line on stdout when requests are answered; after the signal a clean exit without another word."""
    line = program.stdout.readline() if program.stdout else ""
    url = line.split()[2]

    assert line == f"Sandbox on {url} (no account, nothing leaves this machine)\n"
    assert httpx.get(f"{url}/files", headers={"authorization": "Bearer k"}).status_code == 200

    program.send_signal(number)

    assert program.communicate(timeout=10) == ("", "")
    assert program.returncode == 0


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the port and the way out."""
    with SandboxServer() as server:
        code = main(["--port", str(server.port)])
    text = capsys.readouterr().err

    assert code == 2
    assert (text.count("\n"), str(server.port) in text, "--port 0" in text) == (1, True, True)


def test_defaults_are_local_and_harmless() -> None:
    """Without options it listens on this machine, at normal speed, without faults."""
    options = build_parser().parse_args([])

    assert (options.host, options.port, options.time_scale, options.fault) == ("127.0.0.1", 8000, 1.0, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("POST /batches:drop:0.1", Fault(route="POST /batches", kind="drop", rate=0.1)),
        ("*:html", Fault(route="*", kind="html")),
        (
            "GET /batches/{id}:status:1:status=429,retry_after=2,times=3",
            Fault(route="GET /batches/{id}", kind="status", status=429, retry_after="2", times=3),
        ),
    ],
)
def test_faults_can_be_written_in_a_line(text: str, fault: Fault) -> None:
    """Route, kind, rate and options."""
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["", "GET /files", "GET /files:explode:1", "GET /files:drop:often"])
def test_impossible_faults_are_refused(text: str) -> None:
    """The parser names what it could not read."""
    with pytest.raises(argparse.ArgumentTypeError):
        parse_fault(text)


def test_time_must_move_forward(capsys: pytest.CaptureFixture[str]) -> None:
    """A speed of zero would be a batch that never ends."""
    with pytest.raises(SystemExit):
        main(["--time-scale", "0"])

    assert "--time-scale" in capsys.readouterr().err
