"""Run 10^3 to 10^7 rows through a language model at batch price, from Apache Airflow."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def get_provider_info() -> dict[str, Any]:
    """What Airflow reads about this package; imported by every Airflow process, hence the late import."""
    from airflow_batch_provider import provider_info

    return provider_info.get_provider_info()
