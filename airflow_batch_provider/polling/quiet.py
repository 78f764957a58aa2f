"""httpx logs each request. For a poller that is a line for every page of every look, which nobody wants to read."""

from __future__ import annotations

import contextvars
import logging

_is_quiet: contextvars.ContextVar[bool] = contextvars.ContextVar("batch_poller_is_quiet", default=False)


class _OnlyOthers(logging.Filter):
    """Drops what is logged in the context of a poller, and leaves everybody else's lines alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not _is_quiet.get()


def be_quiet() -> None:
    """Drop httpx's lines about requests made in the present context and in tasks started from it."""
    _is_quiet.set(True)
    logger = logging.getLogger("httpx")
    if not any(isinstance(known, _OnlyOthers) for known in logger.filters):
        logger.addFilter(_OnlyOthers())
