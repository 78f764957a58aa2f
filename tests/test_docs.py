"""The docs say what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import airflow_batch_provider
from airflow_batch_provider.operators import batch as operators
from airflow_batch_provider.sensors.batch import BatchSensor
from scripts import docs_tables

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PUBLIC = [getattr(operators, name) for name in operators.__all__] + [BatchSensor]


def own_parameters(cls: type) -> list[str]:
    """List a class's own parameters."""
    return [name for name in inspect.signature(cls).parameters if name != "kwargs"]


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_every_parameter_is_in_the_guide(cls: type) -> None:
    """Each operator has a section in the guide that names all its parameters."""
    guide = "".join((DOCS / page).read_text() for page in ("bricks.md", "inference.md"))
    (section,) = [part for part in re.split(r"^## ", guide, flags=re.M) if cls.__name__ in part.split("\n")[0]]

    missing = [name for name in own_parameters(cls) if not re.search(rf"\b{name}\b", section + guide.split("## ")[0])]

    assert missing == []


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_every_parameter_is_in_the_docstring(cls: type) -> None:
    """Each parameter has a ``:param:`` line that says more than its name."""
    described = dict(re.findall(r":param (\w+): (.+)", inspect.getdoc(cls) or ""))

    assert [name for name in own_parameters(cls) if len(described.get(name, "")) < 8] == []


def test_connection_table_is_current() -> None:
    """The table of connection fields is the one the code gives; ``python scripts/docs_tables.py`` writes it."""
    text = (DOCS / "connection.md").read_text()

    assert docs_tables.with_table(text) == text


@pytest.mark.parametrize("name", ["bricks", "inference"])
def test_guide_snippet_is_the_example(name: str) -> None:
    """The guide shows the lines of the example DAG between its markers."""
    example = (ROOT / "example_dags" / f"example_{name}.py").read_text()
    snippet = inspect.cleandoc(example.split(f"# [START howto_{name}]")[1].split(f"# [END howto_{name}]")[0])

    assert snippet.split("\n\n")[0] in (DOCS / f"{name}.md").read_text()


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links between pages point to files that exist."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_changelog_knows_the_version() -> None:
    """The version is either released in the changelog or on its way in it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()

    assert "## Unreleased" in changelog or f"## {airflow_batch_provider.__version__}" in changelog
