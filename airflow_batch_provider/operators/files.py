"""Operators that move files: upload requests, download results, delete what is left at the service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_batch_provider.core.judging import not_ended_error
from airflow_batch_provider.exceptions import ConfigurationError
from airflow_batch_provider.hooks.batch import BatchHook, open_hook
from airflow_batch_provider.hooks.boundary import airflow_boundary
from airflow_batch_provider.links.batch import BatchLink, store_link

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class UploadBatchFileOperator(BaseOperator):
    """
    Check a file of requests and upload it. Returns the file's id.

    Checked before anything is sent: every line is JSON with ``custom_id`` (present and unique), ``method``, ``url`` and
    ``body``; one endpoint; within the connection's limits. Byte order marks, blank lines and CRLF are cleaned away.

    :param path: JSON lines file: local path or object storage URL (``s3://conn_id@bucket/key``). Templated.
    :param endpoint: Endpoint all requests must be for; None takes that of the first request. Templated.
    :param filename: Name at the service, by default the file's own. Templated.
    :param conn_id: Connection of type ``batch``. Templated.
    :raises InputError: The file has problems, named with line and field; nothing was sent.
    """

    template_fields: Sequence[str] = ("path", "endpoint", "filename", "conn_id")
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        path: str,
        endpoint: str | None = None,
        filename: str | None = None,
        conn_id: str = BatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.endpoint = endpoint
        self.filename = filename
        self.conn_id = conn_id

    def execute(self, context: Context) -> str:
        """Check, upload, return the file's id."""
        from airflow_batch_provider.intake import check_file, upload_checked

        with airflow_boundary(), open_hook(self.conn_id) as hook:
            client = hook.get_conn()
            checked = check_file(self.path, client.settings.limits, self.endpoint)
            self.log.info(
                "%s: %s requests (%.1f MB) for %s. No problems found.",
                self.path, f"{checked.found.requests:,}", checked.found.bytes / 1e6, checked.found.endpoint,
            )  # fmt: skip
            began = time.monotonic()
            remote = upload_checked(client, checked, self.filename)
            self.log.info("Uploaded as %s in %.1f s.", remote.id, time.monotonic() - began)
            return remote.id


class DownloadBatchResultsOperator(BaseOperator):
    """
    Download output and error file of an ended batch.

    Returns ``{"output": {"path", "rows", "bytes"}, "errors": ..., "status": ...}``; a part is None when the service has
    no such file. Expired and cancelled batches keep what was finished. Files appear whole or not at all.

    :param batch_id: The batch. Templated.
    :param output_path: Folder for the files: local path or object storage URL. They are named after the batch:
        ``<batch id>_output.jsonl`` and ``<batch id>_errors.jsonl``. Templated.
    :param conn_id: Connection of type ``batch``. Templated.
    :raises BatchNotEndedError: The batch has not ended; wait for it first.
    :raises DownloadError: A file arrived short or altered.
    """

    template_fields: Sequence[str] = ("batch_id", "output_path", "conn_id")
    operator_extra_links = (BatchLink(),)
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self, *, batch_id: str, output_path: str, conn_id: str = BatchHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.output_path = output_path
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Download both files; return where they are."""
        from airflow_batch_provider.collection import collect_results

        with airflow_boundary(), open_hook(self.conn_id) as hook:
            client = hook.get_conn()
            store_link(self, context, client.settings.console_url, self.batch_id)
            results = collect_results(client, client.get_batch(self.batch_id), self.output_path)
            for name in ("output", "errors"):
                if part := results[name]:
                    self.log.info(
                        "%s: %s rows, %s bytes in %s", name, f"{part['rows']:,}", f"{part['bytes']:,}", part["path"]
                    )
                else:
                    self.log.info("%s: none", name)
            return results


class DeleteBatchFilesOperator(BaseOperator):
    """
    Delete files at the service: those of an ended batch, or files by id. Returns the ids that are gone.

    A file that is gone already counts as deleted, so a retry does no harm.

    :param batch_id: The batch whose input, output and error files go. Templated.
    :param file_ids: Files to delete instead. Templated.
    :param conn_id: Connection of type ``batch``. Templated.
    :raises BatchNotEndedError: The batch still needs its files.
    """

    template_fields: Sequence[str] = ("batch_id", "file_ids", "conn_id")
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        batch_id: str | None = None,
        file_ids: Sequence[str] | None = None,
        conn_id: str = BatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.file_ids = file_ids
        self.conn_id = conn_id

    def execute(self, context: Context) -> list[str]:
        """Delete, return the ids that are gone."""
        from airflow_batch_provider.collection import delete_files

        with airflow_boundary(), open_hook(self.conn_id) as hook:
            gone = delete_files(hook.get_conn(), self._targets(hook))
            self.log.info("Deleted %d files at the service: %s", len(gone), ", ".join(gone) or "none")
            return gone

    def _targets(self, hook: BatchHook) -> Sequence[str]:
        if bool(self.batch_id) == bool(self.file_ids):
            raise ConfigurationError("DeleteBatchFilesOperator needs either `batch_id` or `file_ids`.")
        if self.file_ids:
            return [self.file_ids] if isinstance(self.file_ids, str) else list(self.file_ids)
        batch = hook.get_batch(str(self.batch_id))
        if not batch.status.has_ended:
            raise not_ended_error(batch)
        return batch.file_ids
