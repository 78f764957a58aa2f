"""Reading the input once and writing it as shard files, checked."""

from __future__ import annotations

import gzip
import re
import resource
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.core.requests import MAX_SHOWN_PROBLEMS, Problem, clean_line, input_error, shorten
from airflow_batch_provider.core.sharding import ShardPlanner
from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.duplicates import DuplicateFinder
from airflow_batch_provider.storage.shard_writer import ShardWriter
from airflow_batch_provider.storage.shards import RunFolder

# Open files that a task's process has for other things, generously.
OTHER_FILES = 200
MIN_GROUPS = 10


def plan_input(
    files: Sequence[ObjectStoragePath],
    folder: RunFolder,
    limits: BatchLimits,
    endpoint: str | None,
    max_rounds: int = 1,
) -> list[Piece]:
    """
    Read, check and split an input; the pieces of round 0.

    :param files: The input's files.
    :param folder: Where the shard files go.
    :param limits: What one batch may hold.
    :param endpoint: Endpoint all requests must be for; None lets them differ.
    :param max_rounds: How many rounds there may be, this one included.
    :raises InputError: Something is wrong, named with line and field; nothing was sent.
    """
    planner = ShardPlanner(limits, endpoint, max_groups(max_rounds))
    lines_read = 0
    with tempfile.TemporaryDirectory(prefix="batch-plan-") as temp, ShardWriter(folder, 0) as writer:
        duplicates = DuplicateFinder(Path(temp))
        for path in files:
            planner.line_number, shown = 0, len(planner.problems)
            with sources.open_lines(path) as stream:
                for lines in _blocks(stream, path, limits):
                    for planned in planner.feed(lines):
                        writer.write(planned)
                    duplicates.add(planner.hashes)
                    planner.hashes.clear()
            if len(files) > 1:
                planner.problems[shown:] = [_in_file(path.name, problem) for problem in planner.problems[shown:]]
            lines_read += planner.line_number
        problems, count = planner.problems, planner.problem_count
        if repeated := duplicates.find():
            found, found_count = _name_duplicates(files, repeated)
            problems, count = (problems + found)[:MAX_SHOWN_PROBLEMS], count + found_count
        if not count and not planner.requests:
            problems, count = [Problem(0, "no requests in it")], 1
        if count:
            name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more files"
            raise input_error(name, sorted(problems), count, lines_read)
        return writer.pieces()


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


def _in_file(name: str, problem: Problem) -> Problem:
    return problem._replace(text=f"{problem.text} (in {name})")


def _name_duplicates(files: Sequence[ObjectStoragePath], repeated: set[int]) -> tuple[list[Problem], int]:
    """Read the input again for the ids behind the hashes: the first problems, with both lines, and how many there are."""
    first: dict[str, tuple[int, str]] = {}
    twice: set[str] = set()
    problems: list[Problem] = []
    count = 0
    for path in files:
        for number, custom_id in _custom_ids(path):
            if hash(custom_id) not in repeated:
                continue
            if custom_id not in first:
                first[custom_id] = (number, f"line {number}" if len(files) == 1 else f"line {number} of {path.name}")
                continue
            twice.add(custom_id)
            count += 1
            if len(problems) < MAX_SHOWN_PROBLEMS:
                text = f'custom_id "{shorten(custom_id)}" was already used in {first[custom_id][1]}'
                problem = Problem(number, text, custom_id, "custom_id")
                problems.append(problem if len(files) == 1 else _in_file(path.name, problem))
    for custom_id, (number, place) in first.items():
        # Given once by the user and once by the planner; any other single one only shares its hash with another.
        if custom_id not in twice and re.fullmatch(r"request-\d{8,}", custom_id):
            count += 1
            text = (
                f'custom_id "{custom_id}" ({place}) is what a request without one gets; give all requests one, or none'
            )
            problems.append(Problem(number, text, custom_id, "custom_id"))
    return problems[:MAX_SHOWN_PROBLEMS], count


class _Id(msgspec.Struct):
    custom_id: str


def _custom_ids(path: ObjectStoragePath) -> Iterable[tuple[int, str]]:
    decode = msgspec.json.Decoder(_Id).decode
    number = 0
    with sources.open_lines(path) as stream:
        for lines in paths.read_line_blocks(stream, max_line_bytes=1 << 30):
            for line in lines:
                number += 1
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    yield number, decode(clean_line(line, is_first=number == 1)).custom_id
