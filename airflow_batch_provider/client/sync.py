"""The client of workers: blocking, with uploads and downloads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from airflow_batch_provider.client import calls, http
from airflow_batch_provider.client.downloads import Download
from airflow_batch_provider.client.multipart import Upload
from airflow_batch_provider.client.pages import iter_items
from airflow_batch_provider.client.retries import may_have_worked
from airflow_batch_provider.client.sender import OpenTarget, Sender
from airflow_batch_provider.client.settings import ServiceSettings
from airflow_batch_provider.client.wire import Page
from airflow_batch_provider.core.batches import Batch, RemoteFile
from airflow_batch_provider.exceptions import ApiError, SubmissionUnknownError


class BatchClient:
    """
    One service, as blocking calls.

    Every method raises a subclass of :class:`~airflow_batch_provider.exceptions.ApiError`, and repeats what may be
    repeated: all calls but :meth:`create_batch`, which costs money and is only repeated when it is sure that nothing
    was created.

    :param settings: The service.
    :param transport: Replaces the network in tests.
    :param sleep: Waits between tries.
    :param jitter: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._sender = Sender(settings, transport=transport, sleep=sleep, jitter=jitter)

    def __repr__(self) -> str:
        return f"<BatchClient {self.settings.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._sender.close()

    # Files

    def upload_file(self, upload: Upload) -> RemoteFile:
        """
        Upload a file, streaming it. A broken try starts again from the beginning.

        :param upload: The file.
        """
        return self._sender.upload(upload)

    def get_file(self, file_id: str) -> RemoteFile:
        """
        Ask about a file.

        :param file_id: Its id.
        """
        return self._sender.perform(calls.get_file(file_id))

    def list_files(self, *, purpose: str | None = None, page_size: int = 100) -> Iterator[RemoteFile]:
        """
        List files, page by page.

        :param purpose: Only files with this purpose.
        :param page_size: Files per call, up to 100.
        """
        return iter_items(lambda after: self._sender.perform(calls.list_files(after, page_size, purpose)))

    def delete_file(self, file_id: str) -> bool:
        """
        Delete a file.

        :param file_id: Its id.
        :returns: False when the service says that it did not delete it.
        """
        return self._sender.perform(calls.delete_file(file_id))

    def download_file(self, file_id: str, open_target: OpenTarget, *, expected_bytes: int | None = None) -> Download:
        """
        Download a file, streaming it. A broken try starts again from the beginning.

        :param file_id: Its id.
        :param open_target: Opens an empty target; called once per try, left with an exception when the try failed, so
            it must throw away what was written then.
        :param expected_bytes: Size the file must have, or None.
        :raises DownloadError: The file arrived short or altered, also after all retries.
        """
        call = calls.Call("GET", f"/files/{calls.path_id(file_id)}/content", lambda data: data, f"file {file_id}")
        return self._sender.download(call, open_target, expected_bytes)

    # Batches

    def create_batch(self, body: Mapping[str, Any]) -> Batch:
        """
        Create a batch. This is the call that costs money.

        :param body: JSON body: input_file_id, endpoint, completion_window, metadata and what the service also takes.
        :raises SubmissionUnknownError: No usable answer came, and the batch may exist or not.
        """
        try:
            return self._sender.perform(calls.create_batch(body), http.headers_without_retries(self.settings))
        except ApiError as error:
            if not may_have_worked(error):
                raise
            raise SubmissionUnknownError(
                f"It is not known whether the batch was created: {error} Not asked again blindly, because a second "
                "batch would be billed too. A retry first looks for the batch at the service."
            ) from error

    def get_batch(self, batch_id: str) -> Batch:
        """
        Ask about a batch.

        :param batch_id: Its id.
        """
        return self._sender.perform(calls.get_batch(batch_id))

    def cancel_batch(self, batch_id: str) -> Batch:
        """
        Cancel a batch. What is done by then is kept and billed.

        :param batch_id: Its id.
        """
        answer = self._sender.perform(calls.cancel_batch(batch_id))
        if calls.is_batch(answer):
            return calls.get_batch(batch_id).read(answer)
        return self.get_batch(batch_id)

    def list_batches(self, *, page_size: int = 100) -> Iterator[Batch]:
        """
        List batches, page by page; most services show the newest first.

        :param page_size: Batches per call, up to 100.
        """
        return iter_items(lambda after: self.list_batch_page(after=after, page_size=page_size))

    def list_batch_page(self, *, after: str | None = None, page_size: int = 100) -> Page[Batch]:
        """
        One page of the list of batches.

        :param after: Cursor from the page before.
        :param page_size: Batches per call, up to 100.
        """
        return self._sender.perform(calls.list_batches(after, page_size))

    def get_batch_output(self, batch_id: str, open_target: OpenTarget) -> Download:
        """
        Download a batch's rows from the gateway's output route, for services without usable output files.

        :param batch_id: The batch.
        :param open_target: See :meth:`download_file`.
        :raises DownloadError: The answer is not a file of rows.
        """
        path = f"/batches/{calls.path_id(batch_id)}/output"
        call = calls.Call("GET", path, lambda data: data, f"the output of batch {batch_id}")
        return self._sender.download(call, open_target, None)
