"""OGX (once llama-stack): a real batch executor in front of a model endpoint."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.availability import Unavailable
from tests.servers.cache import cache_dir, installed
from tests.servers.model_stub import EMBEDDING_MODEL, MODEL
from tests.servers.process import Server, answers, free_port, running
from tests.servers.python_env import find_python, install_packages

OGX_VERSION = "1.5.0"
OGX_EMBEDDING_MODEL = f"stub/{EMBEDDING_MODEL}"
PYTHON_MINIMUM = (3, 12)
PYTHON_BELOW = (3, 14)
PINS = Path(__file__).parent / "pins" / "ogx"
CONSTRAINTS = PINS / "constraints.txt"
PACKAGES = (f"ogx=={OGX_VERSION}", "sqlalchemy[asyncio]", "aiosqlite", "asyncpg")


@contextmanager
def ogx_server(model_base_url: str, port: int | None = None) -> Iterator[Server]:
    """
    Run OGX with its Files and Batches, empty at the start.

    :param model_base_url: The OpenAI-style endpoint that runs the rows, such as :func:`model_stub`'s.
    :param port: The port, or nothing for any free one.
    :raises Unavailable: it cannot be installed here, for example because there is no Python 3.12 or 3.13.
    """
    python = find_python(PYTHON_MINIMUM, PYTHON_BELOW)
    if python is None:
        raise Unavailable("ogx", "it needs Python 3.12 or 3.13, and neither was found")
    packages = _packages(python)
    port = port or free_port()
    address = f"http://127.0.0.1:{port}/v1"
    state = Path(tempfile.mkdtemp(prefix="ogx-state.", dir=cache_dir()))
    config = (PINS / "config.yaml").read_text(encoding="utf-8")
    (state / "config.yaml").write_text(config, encoding="utf-8")
    env = {
        "PYTHONPATH": str(packages),
        "OGX_CONFIG_DIR": str(state),
        "BATCH_TEST_STATE": str(state),
        "BATCH_TEST_MODEL_URL": model_base_url,
    }
    command: list[str | Path] = [
        python,
        "-m",
        "ogx.cli.ogx",
        "run",
        state / "config.yaml",
        "--port",
        str(port),
        "--insecure",
    ]
    try:
        with running(command, ready=answers(f"{address}/models"), name="ogx", env=env, cwd=state) as process:
            yield Server(f"ogx {OGX_VERSION}", address, process, model=f"stub/{MODEL}")
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _packages(python: Path) -> Path:
    def install(target: Path) -> None:
        requirements = [*PACKAGES, "--constraint", os.fspath(CONSTRAINTS)]
        install_packages("ogx", python, target, requirements)

    pins = [*map(str.encode, PACKAGES), CONSTRAINTS.read_bytes(), os.fsencode(python.resolve())]
    return installed("ogx", pins, install)
