"""The whole run in one task, and the bricks: upload a file, create a batch, download its results, cancel, delete."""

from airflow_batch_provider.operators.files import (
    DeleteBatchFilesOperator,
    DownloadBatchResultsOperator,
    UploadBatchFileOperator,
)
from airflow_batch_provider.operators.inference import BatchInferenceOperator
from airflow_batch_provider.operators.jobs import CancelBatchOperator, CreateBatchOperator

__all__ = [
    "BatchInferenceOperator",
    "CancelBatchOperator",
    "CreateBatchOperator",
    "DeleteBatchFilesOperator",
    "DownloadBatchResultsOperator",
    "UploadBatchFileOperator",
]
