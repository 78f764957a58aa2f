"""
Joining a batch's rows to its requests while they arrive: here, or in a process of its own.

Rows are joined in Python, which works on one core at a time however many threads there are. Large pieces are therefore
given to helpers (:mod:`.helper`), light processes that load :mod:`.worker` and no Airflow; small ones are joined
where they arrive (:mod:`.here`). A helper that is lost costs time, never a row: the piece is joined here instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from airflow_batch_provider.core.tally import Tally


@dataclass(frozen=True, slots=True)
class Joined:
    """
    What came of it.

    :param tally: What the batch's files held.
    :param open_positions: Positions in the piece of the requests that go again.
    :param bytes: How many bytes its rows have.
    """

    tally: Tally
    open_positions: list[int]
    bytes: int


class Joining(Protocol):
    """Joins the files of one batch. Each is begun, written, and ended or rolled back; in the end the rows are written."""

    def begin(self, subject: str, *, skips_damage: bool) -> None:
        """
        Say that a file begins.

        :param subject: Which file, for error texts.
        :param skips_damage: Pass over lines that are no rows instead of refusing the file.
        """

    def write(self, data: bytes, /) -> int:
        """
        Take the next piece of the file.

        :param data: Bytes.
        :raises DownloadError: A line is no JSON object; where joining is done elsewhere, :meth:`end` raises it.
        """

    def end(self) -> bool:
        """
        Say that the file has ended.

        :returns: True when its last line is a row, so that the file was not cut off in the middle of one.
        :raises DownloadError: A line is no JSON object.
        """

    def roll_back(self) -> None:
        """Forget all that came since the file began."""

    def finish(self) -> Joined:
        """Settle the requests that no file told of."""

    def write_to(self, path: str, offset: int) -> None:
        """
        Write all rows in order, once they are settled.

        :param path: A local file that exists.
        :param offset: Where in it the rows begin.
        """
