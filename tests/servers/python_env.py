"""Find a Python interpreter and give it packages, with uv where there is one and with pip otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers.cache import run_installer

Version = tuple[int, int]


def find_python(minimum: Version, below: Version) -> Path | None:
    """
    Return an interpreter of a version in the range, or nothing.

    Each candidate is run, because a name on the PATH may be a shim with nothing behind it.

    :param minimum: Lowest version, inclusive.
    :param below: Highest version, exclusive.
    """
    for candidate in _candidates(minimum, below):
        found = _version(candidate)
        if found is not None and minimum <= found < below:
            return Path(candidate)
    return None


def install_packages(name: str, python: Path, target: Path, requirements: Sequence[str]) -> None:
    """
    Install packages into a plain folder, to be used through ``PYTHONPATH``.

    :param name: What this is for, in messages.
    :param python: The interpreter that will run them.
    :param target: The folder.
    :param requirements: Requirement specifiers, or options such as ``--constraint FILE``.
    :raises Unavailable: the installer failed.
    """
    uv = find_uv()
    installer: list[str | os.PathLike[str]]
    if uv is not None:
        installer = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        installer = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run_installer(name, [*installer, "--target", target, *requirements])


def find_uv() -> Path | None:
    """Return the uv that runs us, the one beside the running interpreter or the one on the PATH, or nothing."""
    beside = Path(sys.executable).parent / "uv"
    found = os.environ.get("UV") or (beside if beside.is_file() else shutil.which("uv"))
    return Path(found) if found else None


def _candidates(minimum: Version, below: Version) -> Iterator[str]:
    yield sys.executable
    for minor in range(below[1] - 1, minimum[1] - 1, -1):
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            yield str(Path(folder) / f"python{minimum[0]}.{minor}")
    uv = find_uv()
    if uv is not None:
        wanted = f">={minimum[0]}.{minimum[1]},<{below[0]}.{below[1]}"
        found = subprocess.run(
            [uv, "python", "find", "--no-project", "--no-python-downloads", wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        yield found.stdout.strip()
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/*/bin/python3"), reverse=True))


def _version(python: str) -> Version | None:
    if not os.access(python, os.X_OK):
        return None
    asked = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        return None
    major, minor = asked.stdout.split()
    return int(major), int(minor)
