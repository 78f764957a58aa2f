"""The rules of starting, stopping and installing, without any of the real servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers import ServerDiedError, Unavailable, require, skip_or_fail
from tests.servers.cache import installed, run_installer
from tests.servers.model_stub import MODEL, model_stub
from tests.servers.process import answers, free_port, running
from tests.servers.python_env import find_python

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache of its own."""
    monkeypatch.setenv("BATCH_TEST_CACHE", str(tmp_path))
    return tmp_path


def test_a_server_runs_for_the_length_of_the_block() -> None:
    """It answers inside the block, has a process group of its own, and is gone afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    ready = answers(f"http://127.0.0.1:{port}/")
    with running(command, ready=ready, name="web") as process:
        assert ready()
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    assert not process.is_alive()
    assert not ready()


def test_a_server_that_dies_shows_the_end_of_its_log() -> None:
    """Whoever reads the error sees why without looking for a file."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    with pytest.raises(ServerDiedError, match=r"(?s)code 1 .*no such option"), running(command, ready=bool, name="x"):
        pytest.fail("must not start")


def test_a_silent_server_is_given_up_and_stopped() -> None:
    """A hanging start costs the timeout and leaves no process behind."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        pytest.raises(ServerDiedError, match="did not answer in time"),
        running(command, ready=bool, name="x", timeout=0.2),
    ):
        pytest.fail("must not start")


def test_a_server_that_ignores_the_request_to_end_is_killed(cache: Path) -> None:
    """Stopping always stops."""
    log = cache / "log"
    with running(
        [sys.executable, "-c", STUBBORN], ready=lambda: b"up" in log.read_bytes(), name="x", log_path=log
    ) as process:
        process.stop(timeout=0.1)
        assert not process.is_alive()


def test_two_installations_at_once_make_one(cache: Path) -> None:
    """The second waits for the first and finds it done."""
    made: list[Path] = []

    def install(target: Path) -> None:
        made.append(target)
        (target / "done").touch()

    with ThreadPoolExecutor(4) as pool:
        targets = list(pool.map(lambda _: installed("x", [b"pin"], install), range(4)))
    assert len(made) == 1
    assert {target / "done" for target in targets} == set(cache.glob("x-*/done"))


def test_a_failed_installation_leaves_nothing_to_be_taken_for_a_whole_one(cache: Path) -> None:
    """The reason says what the installer said; the next attempt starts afresh."""

    def install(target: Path) -> None:
        (target / "half").touch()
        run_installer("x", [sys.executable, "-c", "import sys; sys.exit('registry not reachable')"])

    with pytest.raises(Unavailable, match="registry not reachable"):
        installed("x", [b"pin"], install)
    assert not list(cache.glob("x-*/"))


@contextmanager
def _missing() -> Iterator[None]:
    raise Unavailable("ogx", "no Python 3.12")
    yield


def test_a_missing_server_skips_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    """On somebody's machine the report names the server and the reason."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"ogx is not available: no Python 3\.12"), require(_missing()):
        pytest.fail("must not start")


def test_a_missing_server_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads skips there."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no Python 3\.12"):
        skip_or_fail(Unavailable("ogx", "no Python 3.12"))


def test_an_interpreter_that_nobody_has_is_not_found() -> None:
    """Names on the PATH that cannot be run do not count."""
    assert find_python((3, 11), (3, 20)) == Path(sys.executable)
    assert find_python((3, 98), (3, 99)) is None


def test_the_model_stub_echoes_fails_and_embeds() -> None:
    """The three things a batch server asks of it."""
    with model_stub() as url, httpx.Client(base_url=url, trust_env=False) as http:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello there"}]}
        assert http.post("/chat/completions", json=chat).json()["choices"][0]["message"]["content"] == "hello there"
        assert http.post("/completions", json={"prompt": "fail:503 x"}).status_code == 503
        assert len(http.post("/embeddings", json={"input": ["a", "b"]}).json()["data"]) == 2
