"""Result lines of one batch -> the rows of its requests, counted so that nothing can be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cached_property

import msgspec

from airflow_batch_provider.core import heads
from airflow_batch_provider.core.outcomes import Answer, Outcome, encode_tail, read_answer
from airflow_batch_provider.core.plain_lines import Arrivals, PlainLines
from airflow_batch_provider.core.rows import check_row, damaged, is_row
from airflow_batch_provider.core.tally import Tally

# Fewer rows are put in their places one by one; all at once, every place is looked at.
FEW = 1000


class RowJoiner:
    """
    Joins result lines to the requests of one shard.

    Per file :meth:`begin`, :meth:`feed` as it arrives, :meth:`roll_back` when it breaks off; :meth:`finish` at the end.
    A row is its head, which says whose it is, and its tail, which says what came back.

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
        # By position: the tail, None while no success is known, or the number by which the caller keeps it elsewhere.
        self.tails: list[bytes | int | None] = [None] * len(custom_ids)
        self._ids = custom_ids
        self._indices = indices
        self._batch_id = msgspec.json.encode(batch_id)
        self._round = round_number
        self._unreported = unreported
        self._can_go_again = can_go_again
        self._plain = PlainLines(round_number, self._batch_id)
        self._arrivals = Arrivals()
        # What a failed request would be counted as, until a success overrules it.
        self._failed: dict[int, Answer] = {}
        self._succeeded = 0
        self._tail_bytes = 0
        self.begin("the file")

    @cached_property
    def _position(self) -> dict[str, int]:
        # Made when it is needed: a look into what has just been made, and is in the core's cache, takes half the time.
        return dict(zip(self._ids, range(len(self._ids)), strict=True))

    def begin(self, subject: str, *, skips_damage: bool = False) -> None:
        """
        Say that a file begins.

        :param subject: Which file, for error texts.
        :param skips_damage: Pass over lines that are no rows instead of refusing the file.
        """
        self.settle()
        self._subject = subject
        self._skips_damage = skips_damage
        self._seen = 0
        self.ends_whole = True
        counts = (self._succeeded, self._tail_bytes)
        self._before = (deepcopy(self.tally), dict(self._failed), self._without_row(), counts)

    def roll_back(self) -> None:
        """Forget all that came since the file began."""
        self._arrivals = Arrivals()
        tally, failed, without_row, (self._succeeded, self._tail_bytes) = self._before
        self.tally, self._failed = deepcopy(tally), dict(failed)
        for position in without_row:
            self.tails[position] = None

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
        if not self._take_plain(block):
            self._join(block.split(b"\n"))

    def settle(self) -> None:
        """Put the successes that have arrived in their places, all at once: looking for them between blocks takes longer."""
        arrivals, self._arrivals = self._arrivals, Arrivals()
        if not arrivals.tails:
            return
        if len(arrivals.tails) < FEW or not self._place(arrivals):
            positions = map(self._position.get, arrivals.custom_ids)
            for arrived in zip(positions, arrivals.tails, arrivals.spent, arrivals.made, strict=True):
                self._put(*arrived)
            return
        self._succeeded += len(arrivals.tails)
        self._tail_bytes += arrivals.bytes
        self.tally.input_tokens += sum(arrivals.spent)
        self.tally.output_tokens += sum(arrivals.made)

    def _place(self, arrivals: Arrivals) -> bool:
        """
        Put successes in their places, if each is the first of a request; else say so, and nothing has changed.

        A dict keeps the order of its keys, so its values are in the order of the requests. Looking each row up and putting
        it in its place is the same in more steps, and every step over all rows of a piece waits for memory again.
        """
        placed = dict(zip(self._ids, self.tails, strict=True))
        placed.update(zip(arrivals.custom_ids, arrivals.tails, strict=True))
        tails = list(placed.values())
        # Who is a stranger, or second to a request, has filled no empty place. That none is empty is seen quicker.
        empty = 0 if all(tails) else tails.count(None)
        if empty > len(self._ids) - self._succeeded - len(arrivals.tails):
            return False
        self.tails = tails
        return True

    def heads(self, start: int, stop: int) -> list[bytes]:
        """
        How rows begin: with the request they answer.

        :param start: Position of the first.
        :param stop: Position behind the last.
        """
        return heads.heads(self._indices[start:stop], self._ids[start:stop])

    def count_bytes(self) -> int:
        """Say how many bytes all rows have, once they are settled."""
        return heads.count_bytes(self._indices, self._ids) + self._tail_bytes

    def _join(self, lines: list[bytes]) -> None:
        if self._take_plain(b"\n".join(lines)):
            return
        if len(lines) > 4:
            middle = len(lines) // 2  # what is odd is rare: most parts of the block are plain all the same
            self._join(lines[:middle])
            self._join(lines[middle:])
        else:
            for line in lines:
                self._take_odd(line)

    def _take_plain(self, block: bytes) -> bool:
        """Take lines that all are plain successes; else say so, and nothing has changed."""
        before = len(self._arrivals.tails)
        if not self._plain.read(block, self._arrivals):
            return False
        self._seen += len(self._arrivals.tails) - before
        return True

    def finish(self) -> None:
        """Settle the requests that did not succeed, also those that go again: every round can be read on its own."""
        self.settle()
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
            self._set(position, self._tail(answer))
        if (total := sum(self.tally.counts.values()) + self.tally.open) != len(self._ids):
            raise RuntimeError(f"Counts do not add up: {total} of {len(self._ids)}. Please report this as a bug.")

    def _without_damage(self, lines: list[bytes]) -> list[bytes]:
        spoken = [line for line in lines if line and not line.isspace()]
        if spoken:
            self.ends_whole = is_row(spoken[-1])
        return list(filter(is_row, spoken))

    def _without_row(self) -> Sequence[int]:
        if self._succeeded in (0, len(self.tails)):  # nearly always; looking at every row takes its time
            return range(0 if self._succeeded else len(self.tails))
        return [position for position, tail in enumerate(self.tails) if tail is None]

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
        self.settle()
        self._take(read_answer(line))

    def _take(self, answer: Answer) -> None:
        position = None if answer.custom_id is None else self._position.get(answer.custom_id)
        if answer.outcome is Outcome.SUCCEEDED:
            self._put(position, self._tail(answer), answer.input_tokens, answer.output_tokens)
        elif position is None:
            self.tally.strangers += 1
        elif self.tails[position] is not None or position in self._failed:
            self.tally.duplicates += 1
        else:
            self._failed[position] = answer

    def _put(self, position: int | None, tail: bytes, spent: int, made: int) -> None:
        """Put one success in its place, unless it is nobody's or the request has one."""
        if position is None:
            self.tally.strangers += 1
            return
        if self.tails[position] is not None:
            self.tally.duplicates += 1
            return
        self._failed.pop(position, None)
        self.tally.input_tokens += spent
        self.tally.output_tokens += made
        self._set(position, tail)
        self._succeeded += 1

    def _set(self, position: int, tail: bytes) -> None:
        self.tails[position] = tail
        self._tail_bytes += len(tail)

    def _tail(self, answer: Answer) -> bytes:
        return encode_tail(answer, self._round, self._batch_id)
