"""The connection to a batch service, as Airflow knows it."""
