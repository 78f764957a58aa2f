"""The HTTP client of an OpenAI-shaped batch service, alone or behind a Portkey gateway. The only place with httpx."""

from airflow_batch_provider.client.aio import AsyncBatchClient
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.sync import BatchClient

__all__ = ["AsyncBatchClient", "BatchClient", "ServiceSettings"]
