"""Imports point one way: read from the import statements, and seen in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_batch_provider

PACKAGE = airflow_batch_provider.__name__
FOLDER = Path(airflow_batch_provider.__file__).parent

# What a module of each layer may import of this package, besides its own folder.
BASE = {"exceptions", "core"}
STEPS = {"intake", "uploading", "submission", "waiting", "collection", "receiving"}
RUN_PARTS = {"planning", "landing", "assembly"}
RUN_STAGES = {"abandoning", "keeping", "sending", "stalling", "finishing"}
BELOW_HOOKS = BASE | {"client", "storage", "joining", "polling", "runner"} | STEPS | RUN_PARTS | RUN_STAGES
BELOW_OPERATORS = BELOW_HOOKS | {"hooks", "triggers"}
ALLOWED: dict[str, set[str]] = {
    "": {"provider_info"},
    "exceptions": set(),
    "core": {"exceptions"},
    "client": BASE,
    "storage": BASE,
    "joining": BASE | {"storage"},
    **{step: BASE | {"client", "storage", "joining"} for step in STEPS},
    **{part: BASE | {"client", "storage", "joining"} | STEPS for part in RUN_PARTS},
    **{stage: BASE | {"client", "storage"} | STEPS | RUN_PARTS for stage in RUN_STAGES},
    "polling": BASE | {"client"},
    "runner": BELOW_HOOKS - {"polling"},
    "provider_info": {"core"},
    "links": set(),
    "hooks": BELOW_HOOKS | {"provider_info"},
    "triggers": BELOW_HOOKS | {"hooks"},
    "operators": BELOW_OPERATORS | {"links"},
    "sensors": BELOW_OPERATORS | {"links"},
    "decorators": BELOW_OPERATORS | {"operators", "sensors", "links"},
    "plugin": BELOW_OPERATORS | {"operators", "sensors", "links"},
    "sandbox": set(),
}
WITHOUT_AIRFLOW = BASE | {"client", "joining", "polling", "provider_info", "runner"} | STEPS
NETWORK = {"httpx", "httpcore", "requests", "aiohttp", "urllib3", "openai"}
IMPURE = NETWORK | {
    "airflow",
    "time",
    "random",
    "os",
    "io",
    "socket",
    "pathlib",
    "asyncio",
    "threading",
    "logging",
    "fsspec",
}

MODULES = sorted(FOLDER.rglob("*.py"))
modules = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))


def imports_of(source: str) -> set[str]:
    """Every module named in an import statement, also inside of functions; names imported from packages count too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def layer_of(path: Path) -> str:
    part = path.relative_to(FOLDER).parts[0].removesuffix(".py")
    return "" if part == "__init__" else part


def layers_in(names: set[str]) -> set[str]:
    """The layers of this package among imported names."""
    ours = {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}
    return {name for name in ours if (FOLDER / name).is_dir() or (FOLDER / f"{name}.py").is_file()}


def roots_in(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_import_statements_are_found() -> None:
    """The tests below can fail: all forms and places of imports are seen."""
    source = f"import os.path\nfrom {PACKAGE} import client\ndef f():\n    from {PACKAGE}.core.rows import X\nfrom . import y"
    names = imports_of(source)

    assert layers_in(names) == {"client", "core"}
    assert {"os", ""} <= roots_in(names)


def test_every_layer_is_known() -> None:
    """A new folder or module at the top is given its place here first."""
    assert {layer_of(path) for path in MODULES} <= set(ALLOWED)


@modules
def test_imports_point_down(path: Path) -> None:
    """Each module imports its own layer and those below, never a sibling or what stands above."""
    layer = layer_of(path)
    own = {layer} if (FOLDER / layer).is_dir() else set()
    names = imports_of(path.read_text(encoding="utf-8"))

    assert layers_in(names) <= ALLOWED[layer] | own
    assert not {name for name in names if name.startswith(".")}, "imports are absolute"


def test_links_are_for_operators_and_sensors() -> None:
    """Nobody else needs them."""
    users = {layer_of(path) for path in MODULES if "links" in layers_in(imports_of(path.read_text(encoding="utf-8")))}

    assert users <= {"links", "operators", "sensors"}


@modules
def test_only_the_client_speaks_http(path: Path) -> None:
    """The library can be exchanged in one folder."""
    if layer_of(path) not in ("client", "sandbox"):
        assert roots_in(imports_of(path.read_text(encoding="utf-8"))) & NETWORK == set()


@pytest.mark.parametrize("path", sorted((FOLDER / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_has_no_clock_no_dice_no_io_and_no_airflow(path: Path) -> None:
    """Facts and ``now`` go in, values come out."""
    source = path.read_text(encoding="utf-8")
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert roots_in(imports_of(source)) & IMPURE == set()
    assert calls & {"open", "print", "input"} == set()
    assert ".now(" not in source


@modules
def test_airflow_is_known_to_the_upper_layers_only(path: Path) -> None:
    """The client and the steps of a run can be used and tested without it; storage uses its object storage paths."""
    if layer_of(path) in WITHOUT_AIRFLOW:
        assert "airflow" not in roots_in(imports_of(path.read_text(encoding="utf-8")))


def loaded_by(module: str) -> set[str]:
    """Modules that a fresh Python has loaded after importing one."""
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_parsing_a_dag_loads_no_client() -> None:
    """The scheduler reads DAG files over and over: operators, sensors and triggers load the client when they run."""
    loaded = loaded_by(f"{PACKAGE}.operators.batch, {PACKAGE}.sensors.batch, {PACKAGE}.triggers.batch")

    assert f"{PACKAGE}.triggers.batch" in loaded
    assert {name for name in loaded if name.startswith((f"{PACKAGE}.client", f"{PACKAGE}.storage"))} == set()


def test_reading_provider_info_is_light() -> None:
    """Every Airflow process does it, so it loads neither client nor Airflow."""
    loaded = loaded_by(f"{PACKAGE}.provider_info")

    assert {name for name in loaded if name.split(".")[0] in ("airflow", "httpx", "msgspec")} == set()


def test_core_and_client_load_without_airflow() -> None:
    """They are a library of their own."""
    loaded = loaded_by(f"{PACKAGE}.client.probe, {PACKAGE}.submission, {PACKAGE}.waiting")

    assert "airflow" not in roots_in(loaded)


def test_a_helper_loads_what_it_needs_to_join() -> None:
    """It is started for every run: no Airflow, no network, nothing heavy."""
    loaded = roots_in(loaded_by(f"{PACKAGE}.joining.worker"))

    assert loaded & (NETWORK | {"airflow", "pendulum", "fsspec", "pydantic"}) == set()
