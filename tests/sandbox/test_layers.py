from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import airflow_batch_provider.sandbox

FOLDER = Path(airflow_batch_provider.sandbox.__file__).parent
ALLOWED = {"starlette", "uvicorn", "msgspec"}


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_imports_nothing_of_the_provider(path: Path) -> None:
    """The sandbox stands alone: the standard library, three libraries and itself."""
    foreign = {
        name
        for name in imported_names(path)
        if not name.startswith("airflow_batch_provider.sandbox")
        and name.split(".")[0] not in sys.stdlib_module_names | ALLOWED
    }

    assert foreign == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_files_stay_short(path: Path) -> None:
    """No file has more than 250 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250
