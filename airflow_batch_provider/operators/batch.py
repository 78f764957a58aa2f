"""The bricks: upload a file, create a batch, download its results, cancel it, delete its files."""

from airflow_batch_provider.operators.files import (
    DeleteBatchFilesOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)
from airflow_batch_provider.operators.jobs import CancelBatchOperator, CreateBatchOperator

__all__ = [
    "CancelBatchOperator",
    "CreateBatchOperator",
    "DeleteBatchFilesOperator",
    "DownloadBatchResultsOperator",
    "UploadBatchFileOperator",
]
