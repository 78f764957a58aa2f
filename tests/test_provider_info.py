"""What Airflow reads about the package, held against Airflow's own schemas and code."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_batch_provider import get_provider_info
from airflow_batch_provider.core.connection_fields import BY_NAME, FIELDS
from airflow_batch_provider.hooks.batch import BatchHook

SCHEMAS = Path(airflow.__path__[0])


def test_entry_point_gives_the_info() -> None:
    """Airflow finds the provider by its entry point, under the distribution's own name."""
    (found,) = [
        e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("airflow_batch_provider")
    ]

    info = found.load()()

    assert info == get_provider_info()
    assert found.dist is not None
    assert info["package-name"] == found.dist.name


def test_info_fits_the_runtime_schema() -> None:
    """The info is valid by the schema Airflow checks at run time."""
    schema = json.loads((SCHEMAS / "provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_connection_type_fits_the_strict_schema() -> None:
    """The connection type is valid by the strict schema that Airflow's own providers are held to."""
    schema = json.loads((SCHEMAS / "provider.yaml.schema.json").read_text())
    part = schema["properties"]["connection-types"]

    jsonschema.validate(get_provider_info()["connection-types"], part)


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_listed_modules_exist(kind: str) -> None:
    """Every module the info lists can be imported."""
    for entry in get_provider_info()[kind]:
        for module in entry["python-modules"]:
            assert importlib.import_module(module)


def test_link_class_exists() -> None:
    """The extra link the info lists is the class the operators use."""
    for path in get_provider_info()["extra-links"]:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name).name == "Batch"


def test_form_is_built_by_airflow() -> None:
    """Airflow's form service shows every field of the table, in order, with the labels of the standard fields."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (meta,) = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "batch"]
    data = json.loads(meta.model_dump_json())

    assert data["hook_name"] == BatchHook.hook_name
    assert list(data["extra_fields"]) == [field.name for field in FIELDS]
    assert data["standard_fields"]["password"]["title"] == "API key"
    assert data["standard_fields"]["url_schema"]["hidden"] is True
    assert data["extra_fields"]["secret_config"]["schema"]["format"] == "password"


def test_secret_fields_are_masked_by_airflow() -> None:
    """Each field that may hold a secret has a name whose value Airflow hides."""
    from airflow._shared.secrets_masker import should_hide_value_for_key

    secret = [field.name for field in FIELDS if field.secret]

    assert len(secret) >= 12
    assert [name for name in secret if not should_hide_value_for_key(name)] == []


def test_hook_names_agree_with_the_info() -> None:
    """The class attributes that Airflow up to 3.1 reads say the same as the info."""
    (connection_type,) = get_provider_info()["connection-types"]

    assert BatchHook.conn_type == connection_type["connection-type"]
    assert BatchHook.hook_name == connection_type["hook-name"]
    assert connection_type["hook-class-name"] == f"{BatchHook.__module__}.{BatchHook.__qualname__}"
    behaviour: dict[str, Any] = BatchHook.get_ui_field_behaviour()
    assert behaviour["relabeling"] == connection_type["ui-field-behaviour"]["relabeling"]
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}


def test_field_names_are_unique() -> None:
    """No two rows of the table share a name or a header."""
    headers = [field.header for field in FIELDS if field.header]

    assert len(BY_NAME) == len(FIELDS)
    assert len(set(headers)) == len(headers)
