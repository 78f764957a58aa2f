"""Result lines of one batch -> the rows of its requests, counted so that nothing can be lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import msgspec

from airflow_batch_provider.core import outcomes
from airflow_batch_provider.core.outcomes import Answer, Outcome, encode_row, read_answer
from airflow_batch_provider.core.rows import check_row, damaged, is_row

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

    Per file :meth:`begin`, :meth:`feed` as it arrives, :meth:`roll_back` when it breaks off; :meth:`finish` at the end.

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
        # By position: the row, None while no success is known, or the number by which the caller keeps it elsewhere.
        self.rows: list[bytes | int | None] = [None] * len(custom_ids)
        self._ids = custom_ids
        self._indices = indices
        self._batch_id = _encode(batch_id)
        self._round = round_number
        self._unreported = unreported
        self._can_go_again = can_go_again
        self._position = {custom_id: position for position, custom_id in enumerate(custom_ids)}
        # Whether an id needs no escapes in JSON, nearly always so, is asked once for all of them.
        self._are_ids_plain = b"\\" not in _encode(custom_ids)
        self._models: dict[str | None, str] = {}
        # What a failed request would be counted as, until a success overrules it.
        self._failed: dict[int, Answer] = {}
        self._succeeded = 0
        self.begin("the file")

    def begin(self, subject: str, *, skips_damage: bool = False) -> None:
        """
        Say that a file begins.

        :param subject: Which file, for error texts.
        :param skips_damage: Pass over lines that are no rows instead of refusing the file.
        """
        self._subject = subject
        self._skips_damage = skips_damage
        self._seen = 0
        self.ends_whole = True
        self._before = (deepcopy(self.tally), dict(self._failed), self._without_row(), self._succeeded)

    def roll_back(self) -> None:
        """Forget all that came since the file began."""
        tally, failed, without_row, self._succeeded = self._before
        self.tally, self._failed = deepcopy(tally), dict(failed)
        for position in without_row:
            self.rows[position] = None

    def feed(self, block: bytes) -> None:
        """
        Join lines.

        :param block: Whole lines of an output or error file, in any order; the last may have no line break.
        :raises DownloadError: A line is no JSON object, unless such lines are passed over.
        """
        if self._skips_damage:
            self._join(self._without_damage(block.split(b"\n")))
            return
        if not block.isascii():
            self._check_text(block)
        if not self._join_plain(block):
            self._join(block.split(b"\n"))

    def _join(self, lines: list[bytes]) -> None:
        if self._join_plain(b"\n".join(lines)):
            return
        if len(lines) > 4:
            middle = len(lines) // 2  # what is odd is rare: most parts of the block are plain all the same
            self._join(lines[:middle])
            self._join(lines[middle:])
        else:
            for line in lines:
                self._take_odd(line)

    def _join_plain(self, block: bytes) -> bool:
        """
        Join lines of which each is the first plain success of its request; else say so, and nothing has changed.

        Every row of every run comes through here; step by step over all lines is faster than line by line.
        """
        try:
            decoded = outcomes.decode_lines(block)
            bodies = [row.response.body for row in decoded]
            all_bodies = b" ".join(bodies)
            known = outcomes.decode_bodies(all_bodies)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        count = len(decoded)
        if len(known) != count or b"\n" in all_bodies:  # a row is one line
            return False
        rows, indices = self.rows, self._indices
        custom_ids = [row.custom_id for row in decoded]
        found = map(self._position.get, custom_ids)
        usages = [body.usage for body in known if body.usage is not None]
        positions = [position for position in found if position is not None]
        if len(set(positions)) != count or len(usages) != count or any(map(rows.__getitem__, positions)):
            return False
        spent = [usage.prompt_tokens or usage.input_tokens for usage in usages]
        made = [usage.completion_tokens or usage.output_tokens for usage in usages]
        ends = [self._models.get(body.model) or self._model_json(body.model) for body in known]
        names = custom_ids if self._are_ids_plain else [_encode(name).decode()[1:-1] for name in custom_ids]
        heads = [
            f'{{"index":{indices[position]},"custom_id":"{name}","outcome":"succeeded","response":'.encode()
            for position, name in zip(positions, names, strict=True)
        ]
        tails = [
            f',"error":null,"usage":{{"input_tokens":{tokens},"output_tokens":{more}}},"model":{end}'.encode()
            for tokens, more, end in zip(spent, made, ends, strict=True)
        ]
        for position, parts in zip(positions, zip(heads, bodies, tails, strict=True), strict=True):
            rows[position] = b"".join(parts)
        self._seen += count
        self._succeeded += count
        self.tally.input_tokens += sum(spent)
        self.tally.output_tokens += sum(made)
        return True

    def finish(self) -> None:
        """Settle the requests that did not succeed, also those that go again: every round can be read on its own."""
        if self._succeeded:
            self.tally.counts[Outcome.SUCCEEDED] = self._succeeded
        for position in self._without_row():
            custom_id = self._ids[position]
            answer = self._failed.get(position) or self._unreported(custom_id)
            self.tally.reasons[answer.reason] += 1
            if answer.is_retryable and self._can_go_again:
                self.tally.open += 1
                self.open_positions.append(position)
            else:
                self.tally.counts[answer.outcome] += 1
                self.tally.final_reasons[answer.reason] += 1
            self.rows[position] = self._row(position, answer)
        if (total := sum(self.tally.counts.values()) + self.tally.open) != len(self._ids):
            raise RuntimeError(f"Counts do not add up: {total} of {len(self._ids)}. Please report this as a bug.")

    def _without_damage(self, lines: list[bytes]) -> list[bytes]:
        spoken = [line for line in lines if line and not line.isspace()]
        if spoken:
            self.ends_whole = is_row(spoken[-1])
        return list(filter(is_row, spoken))

    def _without_row(self) -> Sequence[int]:
        if self._succeeded in (0, len(self.rows)):  # nearly always; looking at every row takes its time
            return range(0 if self._succeeded else len(self.rows))
        return [position for position, row in enumerate(self.rows) if row is None]

    def _check_text(self, block: bytes) -> None:
        """Decoding skips the text of fields it does not know."""
        try:
            block.decode()
        except UnicodeDecodeError as error:
            before = block[: error.start].split(b"\n")[:-1]
            self._seen += sum(1 for line in before if line and not line.isspace())
            raise damaged(self._subject, self._seen + 1, error) from None

    def _take_odd(self, line: bytes) -> None:
        """Any line but a first plain success."""
        if not line or line.isspace():
            return
        self._seen += 1
        if not self._skips_damage:
            try:
                check_row(line)
            except (ValueError, RecursionError) as error:
                raise damaged(self._subject, self._seen, error) from None
        self._take(read_answer(line))

    def _take(self, answer: Answer) -> None:
        position = None if answer.custom_id is None else self._position.get(answer.custom_id)
        if position is None:
            self.tally.strangers += 1
            return
        is_success = answer.outcome is Outcome.SUCCEEDED
        if self.rows[position] is not None or (position in self._failed and not is_success):
            self.tally.duplicates += 1
            return
        if not is_success:
            self._failed[position] = answer
            return
        self._failed.pop(position, None)
        self.tally.input_tokens += answer.input_tokens
        self.tally.output_tokens += answer.output_tokens
        self.rows[position] = self._row(position, answer)
        self._succeeded += 1

    def _model_json(self, model: str | None) -> str:
        """Everything of a plain row that follows from its model."""
        found = f'{_encode(model).decode()},"round":{self._round},"batch_id":{self._batch_id.decode()}}}\n'
        return self._models.setdefault(model, found)

    def _row(self, position: int, answer: Answer) -> bytes:
        custom_id = _encode(self._ids[position])
        return encode_row(self._indices[position], custom_id, answer, self._round, self._batch_id)
