"""``BatchHook``: an Airflow connection of type ``batch`` as a client of the service."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_batch_provider.core.batches import Batch, RemoteFile
from airflow_batch_provider.core.connection_fields import conn_fields
from airflow_batch_provider.provider_info import FIELD_BEHAVIOUR

if TYPE_CHECKING:
    # At run time the client (and with it httpx) is imported where it is used: never while DAGs are parsed.
    from airflow_batch_provider.client import AsyncBatchClient, BatchClient, ServiceSettings


class BatchHook(BaseHook):
    """
    Files and batches of a service with the OpenAI shape, alone or behind a Portkey gateway.

    Every method raises a subclass of :class:`~airflow_batch_provider.exceptions.ApiError` when the service does not do
    what was asked, and :class:`~airflow_batch_provider.exceptions.ConfigurationError` when the connection is wrong.
    Times are UTC. Values keep unknown fields of the answer in ``extra``.

    :param conn_id: Connection of type ``batch``.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "batch_default"
    conn_type = "batch"
    hook_name = "Batch inference (OpenAI shape, Portkey)"

    def __init__(self, conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._client: BatchClient | None = None

    # The connection

    def get_conn(self) -> BatchClient:
        """Return the blocking client, opened once per hook."""
        from airflow_batch_provider.client import BatchClient

        if self._client is None:
            self._client = BatchClient(self.get_settings())
        return self._client

    def get_settings(self) -> ServiceSettings:
        """Return the connection's values, checked."""
        connection = self.get_connection(self.conn_id)
        return _settings(connection, connection.extra_dejson)

    async def get_async_conn(self) -> AsyncBatchClient:
        """
        Return a new asynchronous client, with ``get_batch``, ``list_batch_page`` and ``cancel_batch``.

        For triggers: nothing here blocks the event loop. Close it (``async with``) when done.
        """
        from airflow_batch_provider.client import AsyncBatchClient

        return AsyncBatchClient(await self.get_async_settings())

    async def get_async_settings(self) -> ServiceSettings:
        """Return the connection's values, checked, without blocking the event loop."""
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

        connection = await get_async_connection(self.conn_id, self)
        return _settings(connection, await get_async_extra_dejson(connection))

    def close(self) -> None:
        """Close the blocking client's connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def test_connection(self) -> tuple[bool, str]:
        """Answer the connection form's Test button: one sentence, and what to do."""
        from airflow_batch_provider.client.probe import probe

        return probe(self.get_settings)

    # Files

    def upload_file(
        self, path: str | os.PathLike[str], *, filename: str | None = None, purpose: str = "batch"
    ) -> RemoteFile:
        """
        Upload a file as it is, streaming it.

        :param path: Local path or object storage URL.
        :param filename: Name at the service; by default the path's own, and always ending in ``.jsonl``.
        :param purpose: What the file is for.
        """
        from airflow_batch_provider.client.multipart import Upload
        from airflow_batch_provider.storage import paths

        source = paths.as_path(path)
        upload = Upload(lambda: paths.open_input(source), paths.file_size(source), filename or source.name, purpose)
        return self.get_conn().upload_file(upload)

    def get_file(self, file_id: str) -> RemoteFile:
        """
        Ask about a file.

        :param file_id: Its id.
        """
        return self.get_conn().get_file(file_id)

    def list_files(self, *, purpose: str | None = None) -> Iterator[RemoteFile]:
        """
        List files; pages are fetched as the iterator goes.

        :param purpose: Only files with this purpose.
        """
        return self.get_conn().list_files(purpose=purpose)

    def download_file(self, file_id: str, path: str | os.PathLike[str]) -> int:
        """
        Download a file, streaming it. It appears whole or not at all.

        :param file_id: Its id.
        :param path: Local path or object storage URL.
        :returns: Its size in bytes.
        :raises DownloadError: It arrived short or altered.
        """
        from airflow_batch_provider.client.results import expected_bytes
        from airflow_batch_provider.storage import paths, whole_files

        target, client = paths.as_path(path), self.get_conn()
        size = expected_bytes(client, file_id)
        return client.download_file(file_id, lambda: whole_files.WholeFile(target), expected_bytes=size).bytes

    def delete_file(self, file_id: str) -> bool:
        """
        Delete a file at the service.

        :param file_id: Its id.
        :returns: False when the service says that it did not delete it.
        """
        return self.get_conn().delete_file(file_id)

    # Batches

    def create_batch(
        self,
        input_file_id: str,
        endpoint: str,
        *,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        **extra_body: Any,
    ) -> Batch:
        """
        Create a batch. This is the call that costs money; it is never repeated blindly.

        :param input_file_id: The uploaded requests.
        :param endpoint: Endpoint of all requests, for example ``/v1/chat/completions``.
        :param completion_window: How long the service may take; most know only ``24h``.
        :param metadata: Up to 16 pairs of strings.
        :param extra_body: More fields of the body, for services that take them.
        :raises SubmissionUnknownError: No usable answer came, and the batch may exist or not.
        """
        body = {"input_file_id": input_file_id, "endpoint": endpoint, "completion_window": completion_window}
        return self.get_conn().create_batch(
            {**body, **({"metadata": dict(metadata)} if metadata else {}), **extra_body}
        )

    def get_batch(self, batch_id: str) -> Batch:
        """
        Ask about a batch.

        :param batch_id: Its id.
        """
        return self.get_conn().get_batch(batch_id)

    def cancel_batch(self, batch_id: str) -> Batch:
        """
        Cancel a batch. What is done by then is kept and billed.

        :param batch_id: Its id.
        """
        return self.get_conn().cancel_batch(batch_id)

    def list_batches(self) -> Iterator[Batch]:
        """List batches, with most services the newest first; pages are fetched as the iterator goes."""
        return self.get_conn().list_batches()

    def get_batch_output(self, batch_id: str, path: str | os.PathLike[str]) -> int:
        """
        Download a batch's rows from a gateway's output route, for services without usable output files.

        :param batch_id: The batch.
        :param path: Local path or object storage URL; the file appears whole or not at all.
        :returns: Its size in bytes.
        """
        from airflow_batch_provider.storage import paths, whole_files

        target = paths.as_path(path)
        return self.get_conn().get_batch_output(batch_id, lambda: whole_files.WholeFile(target)).bytes

    # What Airflow up to 3.1 asks for instead of provider info

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return which standard fields the form shows, and how."""
        return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields."""
        from airflow_batch_provider.hooks.form import widgets

        return widgets(conn_fields())


def _settings(connection: Any, extra: Mapping[str, Any]) -> ServiceSettings:
    from airflow_batch_provider.client import ServiceSettings

    return ServiceSettings.from_parts(
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        password=connection.password,
        extra=extra,
    )


@contextmanager
def open_hook(conn_id: str) -> Iterator[BatchHook]:
    """
    Open a hook and close its connections at the end of the block.

    :param conn_id: Connection of type ``batch``.
    """
    hook = BatchHook(conn_id)
    try:
        yield hook
    finally:
        hook.close()
