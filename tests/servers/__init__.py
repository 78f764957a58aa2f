"""Real third-party servers, started and stopped for tests. README.md says which, and how they differ."""

from __future__ import annotations

from tests.servers.availability import Unavailable, require, skip_or_fail
from tests.servers.process import Server, ServerDiedError

__all__ = ["Server", "ServerDiedError", "Unavailable", "require", "skip_or_fail"]
