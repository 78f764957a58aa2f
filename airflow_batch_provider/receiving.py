"""A result file on its way from the service to the requests it answers, without a stop on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from airflow_batch_provider.client.results import ResultFile
from airflow_batch_provider.client.sender import OpenTarget, Writable
from airflow_batch_provider.core.joining import RowJoiner
from airflow_batch_provider.core.rows import WholeLines
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.storage.ordering import OrderedRows

log = logging.getLogger(__name__)

# What goes through the joiner at once: with its copies it fits in a core's own cache.
BLOCK_BYTES = 1 << 16


def receive(file: ResultFile, joiner: RowJoiner, rows: OrderedRows) -> None:
    """
    Join a file while it is downloaded; a try that breaks off leaves nothing behind.

    A file with spoilt lines counts when no download will bring a better one.

    :param file: The file.
    :param joiner: Takes its lines.
    :param rows: Holds the rows of the joiner.
    :raises DownloadError: The file arrived short or altered.
    """
    size = file.ask_size()
    try:
        file.download(partial(_joined, file, joiner, rows), size)
    except DownloadError as error:
        if size is not None:
            file.download(partial(_joined, file, joiner, rows, skips_damage=True), size)
            log.warning("%s But it has the size the service says, so the rest of its rows counts.", error)
        elif not file.is_sized and _comes_the_same_again(file, joiner, rows):
            log.warning("%s But it came the same again and again, so the rest of its rows counts.", error)
        else:
            raise


def _comes_the_same_again(file: ResultFile, joiner: RowJoiner, rows: OrderedRows) -> bool:
    """Join it as it is; say whether two downloads agreed in every byte, and its end was not cut off."""
    first, second = _Digest(), _Digest()
    file.download(first.taken, None)
    file.download(partial(second.taken, partial(_joined, file, joiner, rows, skips_damage=True)), None)
    return joiner.ends_whole and first.value == second.value


@contextmanager
def _joined(
    file: ResultFile, joiner: RowJoiner, rows: OrderedRows, *, skips_damage: bool = False
) -> Iterator[Writable]:
    joiner.begin(file.subject, skips_damage=skips_damage)
    target = _JoinedTarget(file.subject, joiner, rows)
    try:
        yield target
        target.finish()
    except BaseException:
        joiner.roll_back()
        raise


class _JoinedTarget:
    """A target whose lines are joined as they arrive; nothing of them is written yet."""

    def __init__(self, subject: str, joiner: RowJoiner, rows: OrderedRows) -> None:
        self._lines = WholeLines(subject)
        self._joiner = joiner
        self._rows = rows

    def write(self, data: bytes, /) -> int:
        for start in range(0, len(data), BLOCK_BYTES):
            if lines := self._lines.feed(data[start : start + BLOCK_BYTES]):
                self._joiner.feed(lines)
                self._rows.grow(len(lines))
        return len(data)

    def finish(self) -> None:
        """Join the last line."""
        if line := self._lines.finish():
            self._joiner.feed(line)


class _Digest:
    """Notes the digest of a download on its way to another target, or to none."""

    def __init__(self) -> None:
        self.value = b""

    @contextmanager
    def taken(self, open_target: OpenTarget = lambda: nullcontext(_Nowhere())) -> Iterator[Writable]:
        digest = hashlib.sha256()
        with open_target() as target:
            yield _Tee(target, digest)
        self.value = digest.digest()


class _Nowhere:
    def write(self, data: bytes, /) -> int:
        return len(data)


class _Tee:
    def __init__(self, target: Writable, digest: hashlib._Hash) -> None:
        self._target = target
        self._digest = digest

    def write(self, data: bytes, /) -> int:
        self._digest.update(data)
        self._target.write(data)
        return len(data)
