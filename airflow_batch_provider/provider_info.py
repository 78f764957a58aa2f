"""What Airflow reads about this package. Light on purpose: every Airflow process imports it."""

from __future__ import annotations

from typing import Any

from airflow_batch_provider.core.connection_fields import conn_fields

FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "port", "login"],
    "relabeling": {"host": "Base URL", "password": "API key"},
    "placeholders": {
        "host": "empty for OpenAI itself; a gateway: http://localhost:8787/v1",
        "password": "key of the service that runs the model",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the metadata of the provider, in the shape of Airflow's ``provider_info.schema.json``."""
    name = "Batch inference"
    return {
        "package-name": "airflow-batch-provider",
        "name": name,
        "description": "Language model batches (OpenAI shape of /v1/files and /v1/batches), also through Portkey.",
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://platform.openai.com/docs/api-reference/batch",
                "tags": ["ai", "llm"],
            }
        ],
        "hooks": [_modules(name, "hooks")],
        "operators": [_modules(name, "operators")],
        "sensors": [_modules(name, "sensors")],
        "triggers": [_modules(name, "triggers")],
        "extra-links": ["airflow_batch_provider.links.batch.BatchLink"],
        "connection-types": [
            {
                "connection-type": "batch",
                "hook-class-name": "airflow_batch_provider.hooks.batch.BatchHook",
                "hook-name": "Batch inference (OpenAI shape, Portkey)",
                "ui-field-behaviour": FIELD_BEHAVIOUR,
                "conn-fields": conn_fields(),
            }
        ],
    }


def _modules(name: str, kind: str) -> dict[str, Any]:
    return {"integration-name": name, "python-modules": [f"airflow_batch_provider.{kind}.batch"]}
