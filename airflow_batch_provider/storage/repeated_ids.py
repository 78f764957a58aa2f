"""Naming the custom_ids that came twice: planning keeps hashes only, so the input is read once more, as far as needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.requests import MAX_SHOWN_PROBLEMS, Problem, clean_line, shorten
from airflow_batch_provider.core.sharding import ShardPlanner
from airflow_batch_provider.storage import paths, sources
from airflow_batch_provider.storage.duplicates import Repeats


class Found(NamedTuple):
    """
    A problem of an input of several files.

    :param file: Number of the file, from 0.
    :param problem: The problem.
    """

    file: int
    problem: Problem

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands, to sort by."""
        return self.file, self.problem.line_number


class _Request(NamedTuple):
    file: int
    line_number: int
    custom_id: str
    hash: int
    is_own: bool  # False for an id that planning assigns


def name_repeated(
    files: Sequence[ObjectStoragePath], planner: ShardPlanner, repeats: Repeats
) -> tuple[list[Found], int]:
    """
    Find the lines behind hashes that came more than once.

    :param files: The input's files.
    :param planner: A fresh one with the settings of the first reading: the same lines are requests, with the same ids.
    :param repeats: The hashes of the first repeats, and how many there are.
    :returns: The first problems, in input order of the second request of each, and how many there are: fewer than
        repeats where different ids share a hash.
    """
    first: dict[str, _Request] = {}
    seen: set[int] = set()
    found: list[Found] = []
    collisions = 0
    names = sources.names(files)
    for request in _requests(files, planner, repeats.numbers):
        if request.custom_id in first:
            found.append(_problem(first[request.custom_id], request, names))
        else:
            first[request.custom_id] = request
            collisions += request.hash in seen
        seen.add(request.hash)
        if len(found) == min(MAX_SHOWN_PROBLEMS, repeats.total - collisions):
            break
    return found, repeats.total - collisions


def _problem(first: _Request, request: _Request, names: Sequence[str]) -> Found:
    text = f'custom_id "{shorten(request.custom_id)}" was already used in line {first.line_number}'
    if len(names) > 1:
        text += f" of {names[first.file]}"
    if not (first.is_own and request.is_own):
        # The line of the other one does not show this id, so nobody would find it there.
        request = request if request.is_own else first
        text = f'custom_id "{request.custom_id}" is what a request without one gets; give all requests one, or none'
    return Found(request.file, Problem(request.line_number, text, request.custom_id, "custom_id"))


def _requests(files: Sequence[ObjectStoragePath], planner: ShardPlanner, hashes: set[int]) -> Iterator[_Request]:
    """Give the requests whose ids have one of these hashes, in input order."""
    for file, path in enumerate(files):
        planner.line_number = 0
        with sources.open_lines(path) as stream:
            for lines in paths.read_line_blocks(stream, max_line_bytes=planner.limits.max_bytes):
                before = planner.line_number, planner.requests
                planner.feed(lines)
                if not hashes.isdisjoint(planner.hashes):
                    # Only such a block is worth going through line by line. To the planner it is nothing new: what
                    # decides whether a line is a request does not change when it comes twice.
                    planner.line_number, planner.requests = before
                    yield from (found for found in _requests_of(file, lines, planner) if found.hash in hashes)
                planner.hashes.clear()


def _requests_of(file: int, lines: Sequence[bytes], planner: ShardPlanner) -> Iterator[_Request]:
    for line in lines:
        planner.hashes.clear()
        for planned in planner.feed([line]):
            for custom_id, written in zip(planned.ids, planned.lines, strict=True):
                is_own = written == clean_line(line, is_first=planner.line_number == 1)
                yield _Request(file, planner.line_number, custom_id, planner.hashes[0], is_own)
