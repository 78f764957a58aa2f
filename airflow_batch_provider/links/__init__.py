"""Airflow links of this package."""
