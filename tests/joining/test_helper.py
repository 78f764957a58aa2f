"""Helpers: real processes that join as it is done here, and whose loss is noticed at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import helper as helpers
from airflow_batch_provider.joining import slots
from airflow_batch_provider.joining.frames import Kind
from airflow_batch_provider.joining.helper import Helper, HelperLostError
from tests.core.test_joining import Report, encode, failure, reports, success
from tests.joining.support import IDS, job, joined, joined_here, lines_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def helper() -> Iterator[Helper]:
    """Give a helper, started."""
    started = Helper()
    yield started
    started.close()


@settings(derandomize=True, deadline=None, database=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(reports(), st.booleans(), st.booleans(), st.sampled_from(list(BatchStatus)))
def test_a_helper_joins_as_it_is_done_here(
    tmp_path: Path, helper: Helper, report: Report, can_go_again: bool, is_consecutive: bool, status: BatchStatus
) -> None:
    """Whatever comes back: the same rows, byte for byte, and the same numbers; piece after piece in one process."""
    ids, output, errors, _, _ = report
    files = [b"".join(output), b"".join(errors)]
    positions = [] if is_consecutive else [7 * number + 3 for number in range(len(ids))]
    changes = {"can_go_again": can_go_again, "first_index": 5 if is_consecutive else None, "status": status}
    expected = joined_here(tmp_path / "here", *files, ids=ids, positions=positions, **changes)

    helper.start(job(len(ids), **changes), lines_of(ids), positions)

    assert joined(helper, tmp_path / "there", *files, offset=9) == expected


def test_a_damaged_line_is_told_at_the_end_of_its_file(helper: Helper, tmp_path: Path) -> None:
    """With the words it has here; after it is taken back, the file may come again."""
    helper.start(job(), lines_of(IDS), [])
    helper.begin("file x", skips_damage=False)
    helper.write(encode(success("a")) + b"<html>\n")
    helper.write(encode(success("b")))

    with pytest.raises(DownloadError, match="Row 2 of file x is not a whole JSON object"):
        helper.end()

    helper.roll_back()
    whole = encode(success("c")) + encode(success("a"))
    assert joined(helper, tmp_path / "there", whole) == joined_here(tmp_path / "here", whole)


def test_more_than_the_memory_they_share_goes_through(helper: Helper, tmp_path: Path) -> None:
    """Several times round all slots, in pieces of any size, after a try that was taken back in the middle of a slot."""
    ids = [f"row-{number}" for number in range(20_000)]
    rows = b"".join(encode(success(name)) for name in reversed(ids))
    assert len(rows) > 2 * slots.SLOTS * slots.SLOT_BYTES
    helper.start(job(len(ids)), lines_of(ids), [])
    helper.begin("file x", skips_damage=False)
    helper.write(b"<html>" * 60_000)
    helper.roll_back()
    helper.begin("file x", skips_damage=False)
    start, size = 0, 1
    while start < len(rows):
        assert helper.write(rows[start : start + size]) == len(rows[start : start + size])
        start, size = start + size, size * 7 % 999_983
    assert helper.end()
    (tmp_path / "there").touch()

    found = helper.finish()
    helper.write_to(str(tmp_path / "there"), 0)

    assert (found, (tmp_path / "there").read_bytes()) == joined_here(tmp_path / "here", rows, ids=ids)


def test_the_memory_they_share_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not every system has memory without a file; the file has no name either."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = encode(success("c")) + encode(success("a"))
    started = Helper()
    try:
        assert list(tmp_path.iterdir()) == []
        started.start(job(), lines_of(IDS), [])
        found = joined(started, tmp_path / "there", rows)
    finally:
        started.close()

    assert found == joined_here(tmp_path / "here", rows)


@pytest.mark.parametrize(("content", "ends_whole"), [(encode(success("a")), True), (encode(success("a"))[:-9], False)])
def test_a_helper_says_how_a_file_ends(helper: Helper, content: bytes, ends_whole: bool) -> None:
    """Whether the last line may have been cut off."""
    helper.start(job(), lines_of(IDS), [])
    helper.begin("file x", skips_damage=True)
    helper.write(content)

    assert helper.end() is ends_whole


def test_a_helper_that_was_killed_is_lost(helper: Helper, tmp_path: Path) -> None:
    """By the kernel, for its memory, in the middle of a file: nothing hangs, and the reason is told."""
    helper.start(job(), lines_of(IDS), [])
    helper.begin("file x", skips_damage=False)
    os.kill(helper.pid, signal.SIGKILL)

    with pytest.raises(HelperLostError, match="exit code -9"):
        deque(map(helper.write, [encode(failure("a")) * 1000] * 100))  # what a pipe holds goes through all the same
    with pytest.raises(HelperLostError):
        helper.end()
    with pytest.raises(HelperLostError):
        helper.finish()


def test_a_helper_that_stands_still_is_lost(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, or stuck with a disk that does not answer: the task does not wait for ever, and takes over."""
    tell(helper, IDS)
    os.kill(helper.pid, signal.SIGSTOP)
    monkeypatch.setattr(helpers, "SILENCE_SECONDS", 0.01)

    with pytest.raises(HelperLostError, match="said nothing for 0.01 s"):
        helper.finish()


def test_a_helper_that_stands_still_while_it_is_told_something_is_lost(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces, say: more is told it than the pipe takes, and nobody waits for ever until it reads."""
    tell(helper, IDS)
    os.kill(helper.pid, signal.SIGSTOP)
    monkeypatch.setattr(helpers, "SILENCE_SECONDS", 0.01)

    with pytest.raises(HelperLostError, match="read nothing for 0.01 s"):
        tell(helper, [f"row-{number}" for number in range(300_000)])


def test_a_helper_that_writes_has_the_time_of_a_slow_disk(
    helper: Helper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It says nothing while it writes: the more rows, the longer that may take."""
    waits: list[float] = []
    heard = helper._heard

    def waited(kind: Kind, seconds: float) -> bytes:
        waits.append(seconds)
        return heard(kind, seconds)

    monkeypatch.setattr(helper, "_heard", waited)
    tell(helper, IDS)
    (tmp_path / "rows").touch()
    size = helper.finish().bytes
    helper.write_to(str(tmp_path / "rows"), 0)

    assert waits[-2:] == [helpers.SILENCE_SECONDS, helpers.SILENCE_SECONDS + size / helpers.SLOW_DISK_BYTES_A_SECOND]


def test_a_helper_that_cannot_write_is_lost(helper: Helper, tmp_path: Path) -> None:
    """A full disk, say: whoever takes over meets it too, and can tell."""
    helper.start(job(), lines_of(IDS), [])
    helper.finish()

    with pytest.raises(HelperLostError, match="exit code 1"):
        helper.write_to(str(tmp_path / "no" / "such" / "file"), 0)


def test_a_helper_that_cannot_be_started_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes may not be started, rows are joined in the task."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    with pytest.raises(HelperLostError, match="FileNotFoundError"):
        Helper()


def test_words_on_the_way_in_are_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some interpreters print when they start (sitecustomize, .pth files), at once: a helper answers on a pipe of its own."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text('print("\\t" * 4000)\nopen(__file__ + ".read", "w")\n')
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    rows = encode(success("b"))
    chatty = Helper()
    try:
        chatty.start(job(), lines_of(IDS), [])
        found = joined(chatty, tmp_path / "there", rows)
    finally:
        chatty.close()

    assert (site / "sitecustomize.py.read").exists()
    assert found == joined_here(tmp_path / "here", rows)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        pytest.param("import sys; sys.stdin.read()", "said nothing for 0.01 s", id="says-nothing"),
        pytest.param("import os, sys; os.write(int(sys.argv[2]), b'hello' * 9); sys.stdin.read()", "no frame", id="text"),
        pytest.param("import os, sys; os.write(int(sys.argv[2]), b'\\xff\\x63\\0\\0\\0\\0'); sys.stdin.read()",
                     "no frame", id="unknown-kind"),
        pytest.param("import os, sys; os.write(int(sys.argv[2]), b'\\xff\\x0a\\0\\0\\0\\0'); sys.stdin.read()",
                     "answers what nobody asked", id="no-greeting"),
        pytest.param("raise SystemExit(3)", "exit code 3", id="ends"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [3, 300_000], ids=["few-requests", "more-than-the-pipe-takes"])
def test_a_helper_that_does_not_begin_as_it_should_is_lost(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str, size: int
) -> None:
    """In bounded time and by name, however much there is to tell it, and nothing of it is left."""
    monkeypatch.setattr(helpers, "_PROGRAM", program)
    if reason == "said nothing for 0.01 s":
        monkeypatch.setattr(helpers, "BEGIN_SECONDS", 0.01)
    ids = [f"row-{number}" for number in range(size)]
    before = open_files()
    started = Helper()
    try:
        with pytest.raises(HelperLostError, match=reason):
            tell(started, ids)
    finally:
        started.close()

    assert open_files() == before
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


def tell(helper: Helper, ids: list[str]) -> None:
    """Let a helper join an empty file."""
    helper.start(job(len(ids)), lines_of(ids), [])
    helper.begin("file x", skips_damage=False)
    helper.end()


def open_files() -> list[Path]:
    """Descriptors of this process."""
    return sorted(Path("/proc/self/fd").iterdir()) if Path("/proc").is_dir() else []


@pytest.mark.parametrize("program", ["/no/such/python", sys.executable])
def test_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Of a helper that has ended, nor of one that could not be started."""
    monkeypatch.setattr(sys, "executable", program)
    before = open_files()
    with suppress(HelperLostError):
        Helper().close()

    assert open_files() == before


@pytest.mark.parametrize("text", ["half \ud83d", "\u2028 \u00e9"])
def test_a_helper_can_be_told_any_words(helper: Helper, tmp_path: Path, text: str) -> None:
    """A service may refuse a batch with half a surrogate pair: the rows say what they would say here."""
    refused: dict[str, Any] = {"status": BatchStatus.FAILED, "message": text}
    helper.start(job(**refused), lines_of(IDS), [])

    assert joined(helper, tmp_path / "there") == joined_here(tmp_path / "here", **refused)


def test_a_helper_ends_with_its_task(helper: Helper) -> None:
    """When nobody can write to it any more, it is gone, also in the middle of a piece."""
    helper.start(job(), lines_of(IDS), [])
    helper.begin("file x", skips_damage=False)
    pid = helper.pid
    helper.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


TASK = """
import sys
from airflow_batch_provider.joining.helper import Helper
from tests.joining.support import IDS, job, lines_of

helper = Helper()
helper.start(job(), lines_of(IDS), [])
helper.begin("file x", skips_damage=False)
print(helper.pid, flush=True)
sys.stdin.read()
"""


def test_a_helper_ends_when_its_task_is_killed() -> None:
    """With SIGKILL, in the middle of a piece: nobody is left to tell it, and it goes all the same."""
    task = subprocess.Popen(
        [sys.executable, "-c", TASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with task:
        assert task.stdout is not None
        helper = psutil.Process(int(task.stdout.readline()))
        task.kill()

    helper.wait(20)


def test_nothing_secret_is_in_a_helpers_command(helper: Helper) -> None:
    """Every user of the machine can read it: the program and the places of modules, nothing of the task."""
    helper.start(job(), lines_of(IDS), [])
    command = Path(f"/proc/{helper.pid}/cmdline").read_bytes() if Path("/proc").is_dir() else b""

    assert b"batch_1" not in command
    assert command.count(b"\0") <= 6
