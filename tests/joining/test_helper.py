"""Helpers: real processes that join as it is done here, and whose loss is noticed at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import DownloadError
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
        helper.finish(str(tmp_path / "x"), 0)


def test_a_helper_that_cannot_write_is_lost(helper: Helper, tmp_path: Path) -> None:
    """A full disk, say: whoever takes over meets it too, and can tell."""
    helper.start(job(), lines_of(IDS), [])

    with pytest.raises(HelperLostError, match="exit code 1"):
        helper.finish(str(tmp_path / "no" / "such" / "file"), 0)


def test_a_helper_that_cannot_be_started_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes may not be started, rows are joined in the task."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    with pytest.raises(HelperLostError, match="FileNotFoundError"):
        Helper()


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
    assert command.count(b"\0") <= 4
