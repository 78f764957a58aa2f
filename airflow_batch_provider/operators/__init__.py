"""Airflow operators of this package."""
