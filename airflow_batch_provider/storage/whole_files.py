"""
Files that appear whole or not at all.

On object stores leaving ``open("wb")`` with an exception publishes the truncated object (verified with Airflow 3.3.2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from uuid import uuid4

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.storage import paths

log = logging.getLogger(__name__)


def link_whole(source: str, path: ObjectStoragePath, *, last_check: Callable[[], None] = lambda: None) -> bool:
    """
    Let a synced local file appear in another place too, without copying it.

    :param source: The file.
    :param path: Where it shall appear; what is there is replaced.
    :param last_check: Called when all is ready; the file does not appear when it raises.
    :returns: False when this file system cannot do that.
    """
    local, there = paths.local_path(path), paths.local_path(paths.as_path(source))
    if local is None or there is None:
        return False
    aside = local.with_name(f".{local.name}.{uuid4().hex[:12]}.part")
    try:
        os.link(there, aside)
    except OSError:
        return False
    try:
        last_check()
        aside.replace(local)
    finally:
        aside.unlink(missing_ok=True)  # renaming does nothing when both names are the same file already
    return True


class WholeFile:
    """
    A file being written that becomes visible whole when the block ends well, and not at all when it does not.

    Locally it is written beside its place and renamed; on object stores the upload is committed or discarded.

    :param path: Where the file shall appear. Missing local folders are made.
    :param last_check: Called when everything is written; the file does not appear when it raises.
    """

    def __init__(self, path: ObjectStoragePath, *, last_check: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._last_check = last_check
        self._local = paths.local_path(path)
        self._attempt = uuid4().hex[:12]  # keeps two attempts at the same file apart
        self._stream: Any = None

    def __enter__(self) -> IO[bytes]:
        if self._local is None:
            self._stream = self.path.open("wb", autocommit=False)
        else:
            self._local.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._aside().open("wb")
        stream: IO[bytes] = self._stream
        return stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._publish()
        except BaseException:
            self._discard()
            raise

    def _publish(self) -> None:
        if self._local is None:
            self._stream.close()
            self._last_check()
            self._stream.commit()
            return
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._last_check()
        self._aside().replace(self._local)

    def _discard(self) -> None:
        """Leave nothing; what stands in the way is told, and does not hide why the file is thrown away."""
        try:
            if self._local is None:
                self._stream.discard()
            else:
                self._aside().unlink(missing_ok=True)
                self._stream.close()
        except Exception as error:  # noqa: BLE001 - storage clients have exceptions of their own
            log.warning("The unfinished %s could not be thrown away: %s", self.path, type(error).__name__)
        if self._local is None:
            # Some (adlfs) publish when the stream is closed, which its end as an object would do. Behind Airflow's
            # wrapper the stream itself has the mark.
            getattr(self._stream, "_obj", self._stream).closed = True

    def _aside(self) -> Path:
        local = paths.on_disk(self.path)
        return local.with_name(f".{local.name}.{self._attempt}.part")
