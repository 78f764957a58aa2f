"""The batches that the status server of the waiting benchmark knows, and when they end."""

from __future__ import annotations

import random
import time
from typing import Any

FIRST_END_SECONDS, ENDING_SECONDS = 5, 20
REQUESTS = 1000
NEVER = float("inf")


class Account:
    """
    The batches of one account, newest first: other people's newer ones, ours, other people's older ones.

    :param own: How many we wait for.
    :param newer: How many of others were created after ours.
    :param older: How many of others were created before ours.
    """

    def __init__(self, own: int, newer: int, older: int) -> None:
        now = time.time()
        self.own_ids = [f"batch_{number:032x}" for number in range(own)]
        self.own = frozenset(self.own_ids)
        listed = [f"batch_{number + (1 << 100):032x}" for number in range(newer)]
        listed += reversed(self.own_ids)
        listed += [f"batch_{number + (1 << 101):032x}" for number in range(older)]
        self.listed = listed
        self.places = {batch_id: place for place, batch_id in enumerate(listed)}
        # Young enough that a pause of a twentieth of the age stays under 5 s: others in 20 s, ours in the 20 s before.
        spans = [(now, newer), (now - 20, own), (now - 40, older)]
        self.created = [int(start - 20 * place / count) for start, count in spans for place in range(count)]
        order = list(range(own))
        random.Random(1).shuffle(order)
        self._ranks = dict(zip(self.own_ids, order, strict=True))
        self.begun = NEVER

    def end_of(self, batch_id: str) -> float:
        """
        Epoch seconds; others' batches do not end.

        :param batch_id: Any batch.
        """
        rank = self._ranks.get(batch_id)
        if rank is None:
            return NEVER
        return self.begun + FIRST_END_SECONDS + ENDING_SECONDS * (rank + 1) / len(self._ranks)

    def batch(self, batch_id: str, now: float) -> dict[str, Any]:
        """
        A batch as OpenAI shows it.

        :param batch_id: A batch of the account.
        :param now: Epoch seconds.
        """
        created, ends = self.created[self.places[batch_id]], self.end_of(batch_id)
        has_ended = ends <= now
        share = 1.0 if has_ended else max(0.0, now - self.begun) / (ends - self.begun) if ends < NEVER else 0.5
        return {
            "id": batch_id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": None,
            "input_file_id": f"file-{batch_id[6:]}",
            "completion_window": "24h",
            "status": "completed" if has_ended else "in_progress",
            "output_file_id": f"file-out-{batch_id[6:]}" if has_ended else None,
            "error_file_id": None,
            "created_at": created,
            "in_progress_at": created + 1,
            "expires_at": created + 86_400,
            "finalizing_at": int(ends) if has_ended else None,
            "completed_at": int(ends) if has_ended else None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": {"total": REQUESTS, "completed": int(share * REQUESTS), "failed": 0},
            "metadata": {"run": "0123456789abcdef", "shard": "00000", "round": "0"},
        }

    def page(self, after: str | None, limit: int, now: float) -> dict[str, Any]:
        """
        A page of the list.

        :param after: Id of the last batch of the page before.
        :param limit: Batches per page.
        :param now: Epoch seconds.
        """
        start = 0 if after is None else self.places[after] + 1
        ids = self.listed[start : start + limit]
        return {
            "object": "list",
            "data": [self.batch(batch_id, now) for batch_id in ids],
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": start + limit < len(self.listed),
        }
