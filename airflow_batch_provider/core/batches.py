"""What a service tells about its batches and files, as values. Built by ``client/wire.py``, read by everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pendulum import DateTime

from airflow_batch_provider.core.status import BatchStatus


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """
    How far a batch is, by the service's own count. Good for progress, never for accounting: services miscount.

    :param total: Requests in the batch; 0 while the service has not counted.
    :param completed: Requests answered with success.
    :param failed: Requests that failed.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """
    One entry of a batch's ``errors``: why the service refused it.

    :param message: The service's words.
    :param code: Its machine-readable code, for example ``invalid_model`` or ``token_limit_exceeded``.
    :param line: Line of the input file, counted from 1, where the service names one.
    :param param: The field concerned.
    """

    message: str
    code: str | None = None
    line: int | None = None
    param: str | None = None

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line is not None else ""
        return f"{self.code}: {self.message}{where}" if self.code else f"{self.message}{where}"


@dataclass(frozen=True, slots=True)
class Batch:
    """
    A remote job.

    :param id: The service's id, kept verbatim: some services hand out percent-encoded ids.
    :param status: Normalised status; ``raw_status`` keeps the service's word.
    :param counts: Progress, or None while the service reports none.
    :param output_file_id: File with the answers, or None; empty strings on the wire are None here.
    :param error_file_id: File with the failed requests, or None.
    :param problems: Why validation failed.
    :param metadata: The caller's own key-value pairs; None when the answer has no such field (so that "not reported"
        and "reported as empty" stay apart: only the second proves that a key is absent).
    :param extra: Fields of the answer that this class does not name.
    """

    id: str
    status: BatchStatus = BatchStatus.UNKNOWN
    raw_status: str | None = None
    endpoint: str | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: RequestCounts | None = None
    problems: tuple[BatchProblem, ...] = ()
    metadata: Mapping[str, str] | None = None
    created_at: DateTime | None = None
    in_progress_at: DateTime | None = None
    ended_at: DateTime | None = None
    expires_at: DateTime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_ids(self) -> tuple[str, ...]:
        """Ids of all files this batch read or wrote: input, output, errors."""
        ids = (self.input_file_id, self.output_file_id, self.error_file_id)
        return tuple(dict.fromkeys(file_id for file_id in ids if file_id))

    def to_dict(self) -> dict[str, Any]:
        """The batch as plain JSON for XCom: ISO times, normalised status, counts as numbers or None."""
        counts = self.counts
        return {
            "id": self.id,
            "status": self.status.value,
            "endpoint": self.endpoint,
            "input_file_id": self.input_file_id,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "request_counts": None
            if counts is None
            else {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
            "problems": [
                {"code": p.code, "message": p.message, "line": p.line, "param": p.param} for p in self.problems
            ],
            "metadata": None if self.metadata is None else dict(self.metadata),
            "created_at": _iso(self.created_at),
            "in_progress_at": _iso(self.in_progress_at),
            "ended_at": _iso(self.ended_at),
            "expires_at": _iso(self.expires_at),
        }


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """
    A file at the service.

    :param id: The service's id, verbatim.
    :param bytes: Size as the service reports it, or None when it does not or reports something unusable.
    :param extra: Fields of the answer that this class does not name.
    """

    id: str
    filename: str | None = None
    bytes: int | None = None
    purpose: str | None = None
    status: str | None = None
    created_at: DateTime | None = None
    expires_at: DateTime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def _iso(moment: DateTime | None) -> str | None:
    return None if moment is None else moment.to_iso8601_string()


def seen_of(batch: Batch) -> str:
    """
    Return what changes while a batch moves.

    :param batch: The batch.
    """
    return f"{batch.status.value} {batch.counts.done if batch.counts else 0}"
