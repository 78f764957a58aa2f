"""Files: local ones and any object storage that Airflow's ``ObjectStoragePath`` reaches."""
