"""Who joins a piece: a helper when it is large, else this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from airflow_batch_provider.core.joining_job import JoiningJob, ids_from_lines
from airflow_batch_provider.joining import Joining
from airflow_batch_provider.joining.helper import Helper, HelperLostError
from airflow_batch_provider.joining.here import JoiningHere

# Below, joining takes less time than the start of a helper.
MIN_HELPED_REQUESTS = 10_000


class Joiners:
    """
    Keeps helpers from piece to piece: as many as pieces are joined side by side. May be used by several threads.

    :param at_a_time: How many pieces are joined side by side. With one, or on one core, a helper would be no help.
    """

    def __init__(self, at_a_time: int) -> None:
        self._may_help = at_a_time > 1 and _cores() > 1
        self._idle: list[Helper] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def joining(
        self, job: JoiningJob, id_lines: bytes, positions: Sequence[int], *, may_help: bool = True
    ) -> Iterator[Joining]:
        """
        Give who joins a piece.

        :param job: The piece and its batch.
        :param id_lines: The custom_ids of its requests, in order: lines of JSON arrays.
        :param positions: Their positions in the input; not looked at when they follow one another.
        :param may_help: False after a helper was lost.
        :raises HelperLostError: The helper was lost; begin again without.
        """
        if not (may_help and self._may_help and job.requests >= MIN_HELPED_REQUESTS):
            with JoiningHere(job, ids_from_lines(id_lines), positions) as here:
                yield here
            return
        helper = self._borrowed()
        try:
            helper.start(job, id_lines, positions)
            yield helper
        except BaseException:
            helper.close()  # in the middle of something
            raise
        self._idle.append(helper)

    def _borrowed(self) -> Helper:
        try:
            return self._idle.pop() if self._idle else Helper()
        except HelperLostError:
            self._may_help = False  # where one cannot be started, others cannot
            raise


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
