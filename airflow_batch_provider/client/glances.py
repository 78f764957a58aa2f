"""
Pages of the list of batches, read for those who look at thousands of batches every few seconds.

Only what waiting needs, and in two steps: a page becomes glances in one go; a batch is made of a glance only when it
differs from the last one. That takes a tenth of the time of reading all of every batch.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec
from pendulum import DateTime

from airflow_batch_provider.client import wire
from airflow_batch_provider.core.batches import Batch, RequestCounts
from airflow_batch_provider.core.status import BatchStatus


class _Counts(msgspec.Struct, gc=False):
    total: int = 0
    completed: int = 0
    failed: int = 0


class Glance(msgspec.Struct, gc=False):
    """
    A batch as a list shows it.

    :param id: Its id.
    :param status: The service's word.
    :param created_at: As the service writes it.
    :param request_counts: Progress, where the service reports it.
    """

    id: str
    status: str | None = None
    created_at: int | float | str | None = None
    request_counts: _Counts | None = None

    @property
    def mark(self) -> int:
        """A number that changes when status or counts do."""
        counts = self.request_counts
        if counts is None:
            return hash(self.status)
        return hash((self.status, counts.total, counts.completed, counts.failed))

    def to_batch(self) -> Batch:
        """The batch, without the fields that only its own route is asked for."""
        counts = self.request_counts
        return Batch(
            id=self.id,
            status=BatchStatus.from_wire(self.status),
            raw_status=self.status,
            counts=None
            if counts is None
            else RequestCounts(max(0, counts.total), max(0, counts.completed), max(0, counts.failed)),
            created_at=_moment(self.created_at),
        )


class _Page(msgspec.Struct, gc=False):
    data: list[Glance]
    has_more: bool = False
    last_id: str | None = None


_decode_page = msgspec.json.Decoder(_Page).decode


def decode(body: bytes) -> Any:
    """
    Decode an answer of the list route: as a page of the ordinary shape, else as any JSON.

    :param body: The answer.
    :raises ValueError: It is not JSON.
    """
    try:
        return _decode_page(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(body)


def page_of_glances(data: Any) -> wire.Page[Glance]:
    """
    Read a decoded answer.

    :param data: What :func:`decode` returned.
    :raises ApiResponseError: It is not a list of batches.
    """
    if not isinstance(data, _Page):
        page = wire.page_from_wire(wire.batch_from_wire)(data)
        return wire.Page(tuple(_glance_of(batch) for batch in page.items), page.next_after)
    next_after = (data.last_id or data.data[-1].id) if data.has_more and data.data else None
    return wire.Page(tuple(data.data), next_after or None)


def _glance_of(batch: Batch) -> Glance:
    counts = None
    if batch.counts is not None:
        counts = _Counts(batch.counts.total, batch.counts.completed, batch.counts.failed)
    created_at = None if batch.created_at is None else batch.created_at.timestamp()
    return Glance(batch.id, batch.raw_status, created_at, counts)


# The same few seconds come again at every look, and making a time of one costs more than the rest of a batch.
@lru_cache(maxsize=4096)
def _moment(value: float | str | None) -> DateTime | None:
    return wire.moment_from_wire(value)
