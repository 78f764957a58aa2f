"""Reading the input once and writing it as shard files, checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import MAX_SHOWN_PROBLEMS, Problem, input_error
from airflow_batch_provider.core.sharding import Shard, ShardPlanner
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.duplicates import DuplicateFinder
from airflow_batch_provider.storage.shards import BlockWriter, RunFolder


def plan_input(
    files: Sequence[ObjectStoragePath], folder: RunFolder, limits: BatchLimits, endpoint: str | None
) -> list[Piece]:
    """
    Read, check and split an input; the pieces of round 0.

    :param files: The input's files.
    :param folder: Where the shard files go.
    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None lets them differ.
    :raises InputError: Something is wrong, named with line and field; nothing was sent.
    """
    planner = ShardPlanner(limits, endpoint)
    lines_read = 0
    with tempfile.TemporaryDirectory(prefix="batch-plan-") as temp, ShardWriter(folder, 0) as writer:
        duplicates = DuplicateFinder(Path(temp))
        for path in files:
            planner.line_number, shown = 0, len(planner.problems)
            with sources.open_lines(path) as stream:
                for lines in _blocks(stream, path, limits):
                    for planned in planner.feed(lines):
                        writer.write(planned.shard, planned.lines, planned.indices)
                    duplicates.add(planner.hashes)
                    planner.hashes.clear()
            if len(files) > 1:
                planner.problems[shown:] = [_in_file(path.name, problem) for problem in planner.problems[shown:]]
            lines_read += planner.line_number
        problems, count = planner.problems, planner.problem_count
        if repeated := duplicates.find():
            found = _name_duplicates(files, repeated)
            problems, count = (problems + found)[:MAX_SHOWN_PROBLEMS], count + len(found)
        if not count and not planner.requests:
            problems, count = [Problem(0, "no requests in it")], 1
        if count:
            name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more files"
            raise input_error(name, sorted(problems), count, lines_read)
        return writer.pieces()


def plan_round(
    requests: Iterable[tuple[int, bytes]], folder: RunFolder, limits: BatchLimits, number: int
) -> list[Piece]:
    """
    Split requests that go again; the pieces of a later round.

    :param requests: (position in the input, line), ascending.
    :param folder: Where the shard files go.
    :param limits: What one batch may hold.
    :param number: The round.
    """
    planner = ShardPlanner(limits)
    with ShardWriter(folder, number) as writer:
        positions: list[int] = []
        block: list[bytes] = []
        for index, line in requests:
            positions.append(index)
            block.append(line)
            if len(block) >= 1000:
                _write_again(planner, writer, block, positions)
        _write_again(planner, writer, block, positions)
        return writer.pieces()


def _write_again(planner: ShardPlanner, writer: ShardWriter, block: list[bytes], positions: list[int]) -> None:
    first = planner.requests
    for planned in planner.feed(block):
        writer.write(planned.shard, planned.lines, [positions[i - first] for i in planned.indices])
    planner.hashes.clear()
    block.clear()
    positions.clear()


class ShardWriter:
    """
    Writes shard files while they are planned; on an error none of the open ones appears.

    :param folder: Where they go.
    :param number: The round.
    """

    def __init__(self, folder: RunFolder, number: int) -> None:
        self._folder = folder
        self._round = number
        self._pieces: list[Piece] = []
        self._positions: list[list[int] | None] = []
        self._open: dict[int, tuple[ExitStack, BlockWriter, Piece]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for group in list(self._open):
            self._close(group, failed=kind is not None)

    def write(self, shard: Shard, lines: list[bytes], indices: list[int]) -> None:
        """
        Write lines of a shard.

        :param shard: The shard.
        :param lines: Its next lines.
        :param indices: Their positions in the input.
        """
        if not lines:
            return
        if shard.number == len(self._pieces):
            self._begin(shard, indices[0])
        _, writer, piece = self._open[shard.group]
        data = b"".join(lines)
        writer.write(data)
        if piece.first_index is not None and indices[-1] - indices[0] + 1 == len(indices):
            if indices[0] != piece.first_index + piece.requests:
                self._keep_positions(piece, indices)
        else:
            self._keep_positions(piece, indices)
        piece.requests += len(lines)
        piece.bytes += len(data)

    def pieces(self) -> list[Piece]:
        """End all shard files; return their pieces."""
        for group in list(self._open):
            self._close(group, failed=False)
        return self._pieces

    def _keep_positions(self, piece: Piece, indices: list[int]) -> None:
        positions = self._positions[piece.number]
        if positions is None:
            first = piece.first_index or 0
            positions = self._positions[piece.number] = list(range(first, first + piece.requests))
            piece.first_index = None
        positions.extend(indices)

    def _begin(self, shard: Shard, first_index: int) -> None:
        if shard.group in self._open:
            self._close(shard.group, failed=False)
        piece = Piece(shard.number, self._round, shard.group, shard.endpoint, 0, 0, first_index)
        self._pieces.append(piece)
        self._positions.append(None)
        stack = ExitStack()
        stream: IO[bytes] = stack.enter_context(paths.WholeFile(paths.as_path(self._folder.shard(piece))))
        self._open[shard.group] = (stack, BlockWriter(stream), piece)

    def _close(self, group: int, *, failed: bool) -> None:
        stack, writer, piece = self._open.pop(group)
        if failed:
            error = InputError("not used")
            stack.__exit__(type(error), error, None)
            return
        writer.flush()
        stack.close()
        positions = self._positions[piece.number]
        if positions is not None:
            self._folder.save_positions(self._folder.shard(piece), positions)
            self._positions[piece.number] = []


def _blocks(stream: IO[bytes], path: ObjectStoragePath, limits: BatchLimits) -> Iterable[list[bytes]]:
    try:
        yield from paths.read_line_blocks(stream, max_line_bytes=limits.max_bytes)
    except (EOFError, OSError) as error:
        if not path.name.endswith(".gz"):
            raise
        raise InputError(f"{path} is not a whole gzip file ({error}); nothing was sent.") from error


def _in_file(name: str, problem: Problem) -> Problem:
    return problem._replace(text=f"{problem.text} (in {name})")


def _name_duplicates(files: Sequence[ObjectStoragePath], repeated: set[int]) -> list[Problem]:
    """Read the input again for the ids behind the hashes, with both lines."""
    import msgspec

    first: dict[str, str] = {}
    problems: list[Problem] = []
    for path in files:
        number = 0
        with sources.open_lines(path) as stream:
            for lines in paths.read_line_blocks(stream, max_line_bytes=1 << 30):
                for line in lines:
                    number += 1
                    try:
                        custom_id = msgspec.json.decode(line)["custom_id"]
                    except (msgspec.DecodeError, KeyError, TypeError):
                        continue
                    if not isinstance(custom_id, str) or hash(custom_id) not in repeated:
                        continue
                    place = f"line {number}" if len(files) == 1 else f"line {number} of {path.name}"
                    if custom_id in first:
                        text = f'custom_id "{custom_id[:64]}" was already used in {first[custom_id]}'
                        problems.append(Problem(number, text, custom_id, "custom_id"))
                    else:
                        first[custom_id] = place
    return problems
