"""
Requests -> shards: pieces that each fit one batch.

A planner is fed lines and says which lines go to which shard; it holds the sizes of the open shards and the first
problems, never lines. Lines that differ in endpoint (or model, where the service wants one model per batch) go to
shards of their own; inside a shard, and among the shards of one group, input order is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Annotated, Literal, NamedTuple

import msgspec

from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import MAX_SHOWN_PROBLEMS, Problem, clean_line, diagnose, shorten

MAX_MODELS = 20  # that are noted, for whoever reads about a plan


class _Body(msgspec.Struct, gc=False):
    """What planning needs to know of a body: that it is an object, and its model."""

    model: str | None = None


class _Request(msgspec.Struct, gc=False):
    """What planning needs to know of a line."""

    url: str
    method: str
    body: _Body
    custom_id: str | msgspec.UnsetType = msgspec.UNSET


class _PlainRequest(msgspec.Struct, gc=False):
    """A request that needs no second look."""

    url: str
    method: Literal["POST"]
    body: _Body
    custom_id: Annotated[str, msgspec.Meta(min_length=1)]


_decode = msgspec.json.Decoder(_Request).decode
_decode_plain = msgspec.json.Decoder(_PlainRequest).decode


@dataclass
class Shard:
    """
    A planned piece.

    :param number: From 0, in the order of first requests.
    :param endpoint: Endpoint of all its requests.
    :param model: Model of its first request.
    :param group: Shards of one group hold consecutive parts of it, in input order.
    """

    number: int
    endpoint: str
    model: str | None
    group: int
    requests: int = 0
    bytes: int = 0


class Planned(NamedTuple):
    """
    Lines for one shard.

    :param shard: The shard.
    :param lines: Lines, cleaned, with their custom_id.
    :param indices: Position of each in the input, from 0.
    :param ids: The custom_id of each.
    """

    shard: Shard
    lines: list[bytes]
    indices: list[int]
    ids: list[str]


@dataclass
class ShardPlanner:
    """
    Sorts lines into shards.

    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None lets lines differ.
    :param max_groups: How many shards may be open at a time, or None.
    """

    limits: BatchLimits
    endpoint: str | None = None
    max_groups: int | None = None
    shards: list[Shard] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    requests: int = 0
    line_number: int = 0
    hashes: list[int] = field(default_factory=list)
    models: dict[str, None] = field(default_factory=dict)
    _open: dict[tuple[str, str | None], Shard] = field(default_factory=dict)

    def feed(self, lines: Sequence[bytes]) -> list[Planned]:
        """
        Plan the next lines.

        ``hashes`` then holds one hash per planned request, for the caller to look for duplicates and to empty;
        ``models`` has the first models of all that was planned so far, in order.

        :param lines: Lines with or without their ``\\n``.
        :returns: What goes where, a shard at a time.
        """
        if plain := self._feed_plain(lines):
            return [plain]
        out: list[Planned] = []
        models: dict[str | None, None] = {}
        current: Planned | None = None
        key: tuple[str, str | None] | None = None
        max_bytes, max_requests = self.limits.effective_bytes, self.limits.max_requests
        split_by_model, add_hash = self.limits.one_model, self.hashes.append
        for line in lines:
            self.line_number += 1
            if line[-2:] != b"}\n" or self.line_number == 1:
                line = clean_line(line, is_first=self.line_number == 1)  # noqa: PLW2901
                if not line:
                    continue
            request = self._read(line)
            if request is None:
                continue
            custom_id, size = request.custom_id, len(line)
            if custom_id is msgspec.UNSET:
                custom_id = f"request-{self.requests:08d}"
                line = b'{"custom_id":"%b",%b' % (custom_id.encode(), line.lstrip()[1:])  # noqa: PLW2901
                size = len(line)
            if problem := self._problem(request, custom_id, size):
                self._add_problems([problem])
                continue
            model = request.body.model
            models[model] = None
            new_key = (request.url, model if split_by_model else None)
            if current is None or new_key != key:
                key, current = new_key, self._take(new_key, model, out)
            shard = current.shard
            if shard.requests >= max_requests or shard.bytes + size > max_bytes:
                self._open[key] = shard = self._new(new_key, model, shard.group)
                current = Planned(shard, [], [], [])
                out.append(current)
            shard.requests += 1
            shard.bytes += size
            current.lines.append(line)
            current.indices.append(self.requests)
            current.ids.append(custom_id)
            add_hash(hash(custom_id))
            self.requests += 1
        self._note(models)
        return out

    def _feed_plain(self, lines: Sequence[bytes]) -> Planned | None:
        """
        Plan lines all at once when none needs a second look: clean, alike, and with room in their open shard.

        Nearly all blocks of nearly all inputs are like that, and this takes a third of the time.

        :returns: What goes where, or None: nothing is planned yet.
        """
        if (
            not self.line_number
            or not all(map(bytes.endswith, lines, repeat(b"}\n")))
            or not all(map(bytes.isascii, lines))
        ):
            return None
        try:
            requests = list(map(_decode_plain, lines))
        except (msgspec.DecodeError, RecursionError):
            return None
        urls = {request.url for request in requests}
        models = {request.body.model: None for request in requests}  # a set in order
        if len(urls) != 1 or (self.limits.one_model and len(models) != 1):
            return None
        url, size = urls.pop(), sum(map(len, lines))
        model = next(iter(models)) if self.limits.one_model else None
        shard = self._open.get((url, model))
        if shard is None or (self.endpoint is not None and url != self.endpoint):
            return None
        if shard.requests + len(lines) > self.limits.max_requests or shard.bytes + size > self.limits.effective_bytes:
            return None
        self._note(models)
        indices = list(range(self.requests, self.requests + len(lines)))
        self.line_number += len(lines)
        self.requests += len(lines)
        shard.requests += len(lines)
        shard.bytes += size
        ids = [request.custom_id for request in requests]
        self.hashes += map(hash, ids)
        return Planned(shard, list(lines), indices, ids)

    def _note(self, models: Iterable[str | None]) -> None:
        for model in models:
            if model is not None and len(self.models) < MAX_MODELS:
                self.models[model] = None

    def _read(self, line: bytes) -> _Request | None:
        try:
            if not line.isascii():
                line.decode()  # skipping the body's fields does not check their UTF-8
            return _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._add_problems(diagnose(line, self.line_number, needs_id=False))
            return None

    def _problem(self, request: _Request, custom_id: str, size: int) -> Problem | None:
        if not custom_id:
            return Problem(self.line_number, '"custom_id" is empty', None, "custom_id")
        if not request.url:
            return Problem(self.line_number, '"url" is empty', custom_id, "url")
        if request.method != "POST":
            text = f'"method" is "{shorten(request.method)}" but must be "POST"'
            return Problem(self.line_number, text, custom_id, "method")
        if self.endpoint is not None and request.url != self.endpoint:
            text = f'"url" is "{shorten(request.url)}" but the batch is for "{self.endpoint}"'
            return Problem(self.line_number, text, custom_id, "url")
        if size > self.limits.effective_bytes:
            return Problem(self.line_number, self.limits.excess(size), custom_id, None)
        if len(self._open) == self.max_groups:
            return self._one_too_many(request, custom_id)
        return None

    def _one_too_many(self, request: _Request, custom_id: str) -> Problem | None:
        if (request.url, request.body.model if self.limits.one_model else None) in self._open:
            return None
        by = 'pairs of "url" and "model"' if self.limits.one_model else 'values of "url"'
        text = (
            f"its batch would be one too many: an input may have {self.max_groups} {by}, for which this process may open "
            "files (ulimit -n). Give the others a run of their own"
        )
        return Problem(self.line_number, text, custom_id, "model" if self.limits.one_model else "url")

    def _take(self, key: tuple[str, str | None], model: str | None, out: list[Planned]) -> Planned:
        shard = self._open.get(key)
        if shard is None:
            shard = self._open[key] = self._new(key, model, len(self._open))
        for planned in reversed(out):
            if planned.shard is shard:
                return planned
        out.append(Planned(shard, [], [], []))
        return out[-1]

    def _new(self, key: tuple[str, str | None], model: str | None, group: int) -> Shard:
        self.shards.append(Shard(len(self.shards), key[0], model, group))
        return self.shards[-1]

    def _add_problems(self, problems: list[Problem]) -> None:
        self.problem_count += len(problems)
        self.problems.extend(problems[: max(0, MAX_SHOWN_PROBLEMS - len(self.problems))])
