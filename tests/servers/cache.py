"""Installed servers, kept between test runs in a folder that git ignores."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.availability import Unavailable

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 900.0


def cache_dir(name: str = "") -> Path:
    """
    Return a folder of the cache, made if need be.

    ``BATCH_TEST_CACHE`` moves the cache; by default it is ``.cache`` in the repository.

    :param name: A sub-folder, or nothing for the cache itself.
    """
    folder = Path(os.environ.get("BATCH_TEST_CACHE") or REPOSITORY / ".cache").absolute() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def installed(name: str, pins: Sequence[bytes], install: Callable[[Path], None]) -> Path:
    """
    Return the folder of an installation, making it first if it is not there.

    It is built aside and renamed, under a lock, so that two test processes never see half of one. The name of
    the folder carries a digest of the platform and the pins: a bump makes a new one.

    :param name: The first part of the folder's name.
    :param pins: Everything that decides what gets installed, such as the bytes of a lock file.
    :param install: Fills the folder it is given. Must not write the folder's own name into files.
    """
    platform = sysconfig.get_platform().encode()
    digest = hashlib.sha256(b"\0".join([platform, *pins])).hexdigest()[:12]
    target = cache_dir() / f"{name}-{digest}"
    if target.is_dir():
        return target
    with _lock(cache_dir() / f"{target.name}.lock"):
        if not target.is_dir():
            for abandoned in cache_dir().glob(f"{target.name}.*/"):
                shutil.rmtree(abandoned, ignore_errors=True)
            aside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=cache_dir()))
            try:
                install(aside)
                aside.rename(target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return target


def run_installer(name: str, command: Sequence[str | os.PathLike[str]], env: Mapping[str, str] | None = None) -> None:
    """
    Run one step of an installation.

    :param name: What is being installed, for the message.
    :param command: Program and arguments.
    :param env: Variables to set on top of the current ones.
    :raises Unavailable: the step failed; the reason holds the end of what it printed.
    """
    try:
        done = subprocess.run(
            [os.fspath(part) for part in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(name, f"installing it failed: {error}") from error
    if done.returncode != 0:
        said = "\n".join(done.stdout.decode(errors="replace").strip().split("\n")[-20:])
        raise Unavailable(name, f"installing it failed with code {done.returncode}:\n{said}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
