"""Which files an ended batch brought, and how to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from airflow_batch_provider.client.downloads import Download
from airflow_batch_provider.client.sender import OpenTarget
from airflow_batch_provider.client.sync import BatchClient
from airflow_batch_provider.core.batches import Batch
from airflow_batch_provider.core.judging import failed_error, not_ended_error
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import ApiError


@dataclass(frozen=True)
class ResultFile:
    """
    A file that a batch brought.

    :param kind: ``output`` or ``errors``.
    :param subject: What error texts call it.
    :param download: Downloads it; takes a function that opens a target, and the size it must have, or None.
    :param ask_size: Asks for that size.
    :param is_sized: False when no service ever tells it: on the gateway's output route.
    """

    kind: str
    subject: str
    download: Callable[[OpenTarget, int | None], Download]
    ask_size: Callable[[], int | None]
    is_sized: bool = True


def result_files(client: BatchClient, batch: Batch) -> list[ResultFile]:
    """
    Say which files an ended batch brought.

    :param client: The service.
    :param batch: The batch.
    :raises BatchNotEndedError: The batch has not ended.
    :raises BatchFailedError: The batch was refused and has no results.
    """
    if not batch.status.has_ended:
        raise not_ended_error(batch)
    from_route = client.settings.results_from == "output"
    # On the gateway's output route file ids say nothing: Bedrock and Vertex name their folder from the start.
    if batch.status is BatchStatus.FAILED and (from_route or not (batch.output_file_id or batch.error_file_id)):
        raise failed_error(batch)
    if from_route:

        def download(target: OpenTarget, size: int | None) -> Download:  # noqa: ARG001 - nobody knows the size
            return client.get_batch_output(batch.id, target)

        return [ResultFile("output", f"the output of batch {batch.id}", download, lambda: None, is_sized=False)]
    ids = {"output": batch.output_file_id, "errors": batch.error_file_id}
    return [_result_file(client, kind, file_id) for kind, file_id in ids.items() if file_id is not None]


def _result_file(client: BatchClient, kind: str, file_id: str) -> ResultFile:
    def download(target: OpenTarget, size: int | None) -> Download:
        return client.download_file(file_id, target, expected_bytes=size)

    return ResultFile(kind, f"file {file_id}", download, partial(expected_bytes, client, file_id))


def expected_bytes(client: BatchClient, file_id: str) -> int | None:
    """
    Size a file should have, by the service's word; None when it gives none or is not to be believed.

    :param client: The service.
    :param file_id: The file.
    """
    if not client.settings.check_file_sizes:
        return None
    try:
        return client.get_file(file_id).bytes or None
    except ApiError:
        return None  # not every service has this route; the rows are checked all the same
