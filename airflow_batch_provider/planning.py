"""Reading the input once and writing it as shard files, checked."""

from __future__ import annotations

import gzip
import resource
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import MAX_SHOWN_PROBLEMS, Problem, input_error
from airflow_batch_provider.core.sharding import Planned, ShardPlanner
from airflow_batch_provider.core.summary import counted
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.duplicates import DuplicateFinder
from airflow_batch_provider.storage.repeated_ids import Found, name_repeated
from airflow_batch_provider.storage.shard_writer import ShardWriter
from airflow_batch_provider.storage.shards import RunFolder

# Open files that a task's process has for other things, generously.
OTHER_FILES = 200
MIN_GROUPS = 10


class Plan(NamedTuple):
    """
    What an input was made into.

    :param pieces: The pieces of round 0.
    :param models: Models that its requests name, in the order in which they came: the first twenty.
    :param files: How many files it has.
    """

    pieces: list[Piece]
    models: list[str]
    files: int


def plan_input(
    files: Sequence[ObjectStoragePath],
    folder: RunFolder,
    limits: BatchLimits,
    endpoint: str | None,
    max_rounds: int = 1,
) -> Plan:
    """
    Read, check and split an input.

    :param files: The input's files.
    :param folder: Where the shard files go.
    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None lets them differ.
    :param max_rounds: How many rounds there may be, this one included.
    :raises InputError: Something is wrong, named with line and field; nothing was sent.
    """
    with ShardWriter(folder, 0) as writer:
        planner = _read(files, limits, endpoint, max_rounds, writer.write)
        return Plan(writer.pieces(), list(planner.models), len(files))


def check_input(
    files: Sequence[ObjectStoragePath], limits: BatchLimits, endpoint: str | None, max_rounds: int = 1
) -> None:
    """
    Check an input as planning does, and write nothing: for who has a plan to lose.

    :param files: See :func:`plan_input`, here and below.
    :param limits: See there.
    :param endpoint: See there.
    :param max_rounds: See there.
    :raises InputError: Something is wrong, named with line and field.
    """
    _read(files, limits, endpoint, max_rounds, lambda _: None)


def _read(
    files: Sequence[ObjectStoragePath],
    limits: BatchLimits,
    endpoint: str | None,
    max_rounds: int,
    write: Callable[[Planned], None],
) -> ShardPlanner:
    planner = ShardPlanner(limits, endpoint, max_groups(max_rounds))
    found: list[Found] = []
    lines_read = 0
    with tempfile.TemporaryDirectory(prefix="batch-plan-") as temp:
        duplicates = DuplicateFinder(Path(temp))
        for number, path in enumerate(files):
            planner.line_number = 0
            with sources.open_lines(path) as stream:
                for lines in _blocks(stream, path, limits):
                    for planned in planner.feed(lines):
                        write(planned)
                    duplicates.add(planner.hashes)
                    planner.hashes.clear()
            found += [Found(number, problem) for problem in planner.problems[len(found) :]]
            lines_read += planner.line_number
        count = planner.problem_count
        if (repeats := duplicates.find(MAX_SHOWN_PROBLEMS)).total:
            named, repeated = name_repeated(files, ShardPlanner(limits, endpoint, planner.max_groups), repeats)
            found, count = found + named, count + repeated
        if not count and not planner.requests:
            found, count = [Found(0, Problem(0, "no requests in it"))], 1
        if count:
            raise _refusal(files, found, count, lines_read)
    return planner


def max_groups(max_rounds: int) -> int:
    """
    Say how many groups an input may have, so that no step of the run opens too many files once batches are paid for.

    :param max_rounds: How many rounds there may be.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # For each group planning has a shard and its ids open, in later rounds also the shard that is read; and putting
    # rows in order has a file open for each round.
    return max(MIN_GROUPS, (files - OTHER_FILES) // max(3, max_rounds))


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
        writer.write(planned._replace(indices=[positions[i - first] for i in planned.indices]))
    planner.hashes.clear()
    block.clear()
    positions.clear()


def _blocks(stream: IO[bytes], path: ObjectStoragePath, limits: BatchLimits) -> Iterable[list[bytes]]:
    number = 1
    try:
        for lines in paths.read_line_blocks(stream, max_line_bytes=limits.max_bytes):
            yield lines
            number += len(lines)
    except InputError as error:
        raise InputError(
            f"Line {number:,} of {path} is longer than {limits.max_bytes:,} bytes, the most the service takes in a whole "
            "batch; nothing was sent. Is the file JSON lines?"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file ({error}); nothing was sent.") from error


def _refusal(files: Sequence[ObjectStoragePath], found: list[Found], count: int, lines_read: int) -> InputError:
    names = sources.names(files)
    first = sorted(found, key=lambda each: each.place)[:MAX_SHOWN_PROBLEMS]
    problems = [problem for _, problem in first]
    if len(files) > 1:
        problems = [_in_file(names[file], problem) if problem.line_number else problem for file, problem in first]
    others = f" (and {counted(len(files) - 1, 'more file')})" if len(files) > 1 else ""
    return input_error(names[0] + others, problems, count, lines_read)


def _in_file(name: str, problem: Problem) -> Problem:
    return problem._replace(text=f"{problem.text} (in {name})")
