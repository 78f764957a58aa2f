"""What must be known to join a batch's rows to the requests of its shard, as a value that another process can be told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec

from airflow_batch_provider.core.joining import RowJoiner
from airflow_batch_provider.core.outcomes import Answer, Outcome, ended_answer, missing_answer, refused_answer
from airflow_batch_provider.core.status import BatchStatus

_decode_ids = msgspec.json.Decoder(list[str]).decode_lines


class JoiningJob(msgspec.Struct, frozen=True):
    """
    A piece and its batch.

    :param batch_id: The batch.
    :param status: How it ended; or how it is, when it was given up.
    :param round: The round.
    :param requests: How many requests the piece has.
    :param first_index: Position in the input of the first, when they follow one another; else None.
    :param can_go_again: True when open requests get another round.
    :param code: The service's code for refusing the whole batch.
    :param message: Its words for it.
    """

    batch_id: str
    status: BatchStatus
    round: int
    requests: int
    first_index: int | None
    can_go_again: bool
    code: str | None = None
    message: str | None = None

    def joiner(self, custom_ids: Sequence[str], positions: Sequence[int]) -> RowJoiner:
        """
        Make the joiner.

        :param custom_ids: The piece's requests, in order.
        :param positions: Their positions in the input; not looked at when they follow one another.
        """
        first = self.first_index
        indices = positions if first is None else range(first, first + self.requests)
        if not len(custom_ids) == len(indices) == self.requests:
            raise ValueError(f"{len(custom_ids)} ids and {len(indices)} positions for {self.requests} requests.")
        return RowJoiner(
            custom_ids,
            indices,
            batch_id=self.batch_id,
            round_number=self.round,
            unreported=self.unreported,
            can_go_again=self.can_go_again,
        )

    def unreported(self, custom_id: str) -> Answer:
        """
        What became of a request that no row tells of.

        :param custom_id: The request.
        """
        match self.status:
            case BatchStatus.FAILED:
                message = self.message or "The service gives no reason."
                return refused_answer(custom_id, self.code or "batch_failed", message)
            case BatchStatus.EXPIRED:
                return ended_answer(custom_id, Outcome.EXPIRED)
            case BatchStatus.CANCELLED:
                return ended_answer(custom_id, Outcome.CANCELLED)
            case _:
                return missing_answer(custom_id)


def ids_from_lines(lines: bytes) -> list[str]:
    """
    Read custom_ids.

    :param lines: Lines of JSON arrays.
    """
    return list(chain.from_iterable(_decode_ids(lines)))
