"""Result lines of one batch -> the rows of its requests, counted so that nothing can be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from airflow_batch_provider.core import outcomes
from airflow_batch_provider.core.outcomes import Answer, Outcome, encode_row, read_answer

_encode = msgspec.json.encode


@dataclass
class Tally:
    """
    What one batch's result files held.

    :param counts: Requests by outcome, those that go again left out; with ``open`` they add up to all requests.
    :param reasons: Why requests failed, and how often.
    :param final_reasons: The same without those that go again.
    :param open: Requests that go again in the next round.
    :param duplicates: Further lines for a request that had its answer.
    :param strangers: Lines for nobody.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    final_reasons: Counter[str] = field(default_factory=Counter)
    open: int = 0
    duplicates: int = 0
    strangers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class RowJoiner:
    """
    Joins result lines to the requests of one shard.

    :param custom_ids: The shard's requests, in order.
    :param indices: Position of each in the input.
    :param batch_id: The batch that answers.
    :param round_number: The round.
    :param unreported: Makes the answer of a request that no line tells of.
    :param can_go_again: True when open requests get another round.
    """

    def __init__(
        self,
        custom_ids: Sequence[str],
        indices: Sequence[int],
        *,
        batch_id: str,
        round_number: int,
        unreported: Callable[[str], Answer],
        can_go_again: bool,
    ) -> None:
        self.tally = Tally()
        self.open_positions: list[int] = []
        self._ids = custom_ids
        self._indices = indices
        self._batch_id = _encode(batch_id)
        self._round = round_number
        self._unreported = unreported
        self._can_go_again = can_go_again
        self._position = {custom_id: position for position, custom_id in enumerate(custom_ids)}
        self._has_success = bytearray(len(custom_ids))
        self._answered = bytearray(len(custom_ids))
        self._tail = b',"round":%d,"batch_id":%b}\n' % (round_number, self._batch_id)
        self._models: dict[str | None, bytes] = {None: outcomes.NULL}
        # What a failed request would be counted as, until a success overrules it.
        self._failed: dict[int, Answer] = {}

    def feed(self, lines: Iterable[bytes]) -> list[tuple[int, bytes]]:
        """
        Join lines.

        :param lines: Lines of output or error file, each a JSON object, in any order.
        :returns: (position in the shard, row) of requests that succeeded.
        """
        rows: list[tuple[int, bytes]] = []
        decode_line, decode_body = outcomes.decode_line, outcomes.decode_body
        find, models, has_success, tally = self._position.get, self._models, self._has_success, self.tally
        indices, tail, add, encode = self._indices, self._tail, rows.append, _encode
        all_spent = all_made = 0
        for line in lines:
            # The plain success first: this loop sees every row of every run.
            position, usage = None, None
            try:
                row = decode_line(line)
                response = row.response
                body = response.body
                known = decode_body(body)
                usage = known.usage
                position = find(row.custom_id)
                is_plain = 200 <= response.status_code < 300
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                is_plain = False
            if not is_plain or position is None or usage is None or has_success[position]:
                if line and not line.isspace():
                    self._take(read_answer(line), rows)
                continue
            has_success[position] = 1
            spent = usage.prompt_tokens or usage.input_tokens
            made = usage.completion_tokens or usage.output_tokens
            all_spent += spent
            all_made += made
            model = known.model
            model_json = models.get(model) or models.setdefault(model, _encode(model))
            add((
                position,
                b'{"index":%d,"custom_id":%b,"outcome":"succeeded","response":%b,"error":null,"usage":'
                b'{"input_tokens":%d,"output_tokens":%d},"model":%b%b'
                % (indices[position], encode(row.custom_id), body, spent, made, model_json, tail),
            ))  # fmt: skip
        tally.input_tokens += all_spent
        tally.output_tokens += all_made
        return rows

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """
        Settle the requests that did not succeed, and count.

        :returns: (position in the shard, row) of each of them; also of those that go again, so that every round can be
            read on its own.
        """
        succeeded = sum(self._has_success)
        if succeeded:
            self.tally.counts[Outcome.SUCCEEDED] = succeeded
        for position, custom_id in enumerate(self._ids):
            if self._has_success[position]:
                continue
            answer = self._failed.get(position) or self._unreported(custom_id)
            self.tally.reasons[answer.reason] += 1
            if answer.is_retryable and self._can_go_again:
                self.tally.open += 1
                self.open_positions.append(position)
            else:
                self.tally.counts[answer.outcome] += 1
                self.tally.final_reasons[answer.reason] += 1
            yield position, self._row(position, answer)
        total = sum(self.tally.counts.values()) + self.tally.open
        if total != len(self._ids):
            raise RuntimeError(f"Counts do not add up: {total} of {len(self._ids)}. Please report this as a bug.")

    def _take(self, answer: Answer, rows: list[tuple[int, bytes]]) -> None:
        position = None if answer.custom_id is None else self._position.get(answer.custom_id)
        if position is None:
            self.tally.strangers += 1
            return
        if self._has_success[position] or (position in self._failed and answer.outcome is not Outcome.SUCCEEDED):
            self.tally.duplicates += 1
            return
        if answer.outcome is not Outcome.SUCCEEDED:
            self._failed[position] = answer
            return
        self._failed.pop(position, None)
        self._has_success[position] = 1
        self.tally.input_tokens += answer.input_tokens
        self.tally.output_tokens += answer.output_tokens
        rows.append((position, self._row(position, answer)))

    def _row(self, position: int, answer: Answer) -> bytes:
        custom_id = _encode(self._ids[position])
        return encode_row(self._indices[position], custom_id, answer, self._round, self._batch_id)
