"""What a test does when a real server cannot be had on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NoReturn, TypeVar

ServerT = TypeVar("ServerT")


class Unavailable(Exception):  # noqa: N818 - a fact about the machine, not a fault
    """
    A server cannot be installed or started here, through no fault of the code under test.

    :param name: The server, as a reader of the test report would call it.
    :param reason: What is missing, in words that say how to get it.
    """

    def __init__(self, name: str = "", reason: str = "") -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} is not available: {self.reason}"


def skip_or_fail(problem: Unavailable) -> NoReturn:
    """
    Skip the running test and say why; under CI fail it, so that a missing server cannot hide there.

    :param problem: What could not be had.
    """
    import pytest

    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(str(problem), pytrace=False)
    pytest.skip(str(problem))


@contextmanager
def require(server: AbstractContextManager[ServerT]) -> Iterator[ServerT]:
    """
    Start a server for a fixture, or skip (under CI: fail) when it cannot be had.

    ::

        @pytest.fixture(scope="session")
        def gateway() -> Iterator[Server]:
            with require(portkey_gateway()) as server:
                yield server

    :param server: One of the context managers of this package, not yet entered.
    """
    with ExitStack() as stack:
        try:
            started = stack.enter_context(server)
        except Unavailable as problem:
            skip_or_fail(problem)
        yield started
