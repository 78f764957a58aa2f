"""A result file on its way from the service to the requests it answers, without a stop on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from airflow_batch_provider.client.results import ResultFile
from airflow_batch_provider.client.sender import OpenTarget, Writable
from airflow_batch_provider.exceptions import DownloadError
from airflow_batch_provider.joining import Joining

log = logging.getLogger(__name__)


def receive(file: ResultFile, joining: Joining) -> None:
    """
    Join a file while it is downloaded; a try that breaks off leaves nothing behind.

    A file with spoilt lines counts when no download will bring a better one.

    :param file: The file.
    :param joining: Takes its content.
    :raises DownloadError: The file arrived short or altered.
    """
    size = file.ask_size()
    target = _Target(file.subject, joining)
    try:
        file.download(target.opened, size)
    except DownloadError as error:
        lenient = partial(target.opened, skips_damage=True)
        if size is not None:
            file.download(lenient, size)
            log.warning("%s But it has the size the service says, so the rest of its rows counts.", error)
        elif not file.is_sized and _comes_the_same_again(file, lenient) and target.ends_whole:
            log.warning("%s But it came the same again and again, so the rest of its rows counts.", error)
        else:
            raise


def _comes_the_same_again(file: ResultFile, lenient: OpenTarget) -> bool:
    """Join it as it is; say whether two downloads agreed in every byte."""
    first, second = _Digest(), _Digest()
    file.download(first.taken, None)
    file.download(partial(second.taken, lenient), None)
    return first.value == second.value


class _Target:
    """A target whose content is joined as it arrives; nothing of it is written yet."""

    def __init__(self, subject: str, joining: Joining) -> None:
        self.ends_whole = True
        self._subject = subject
        self._joining = joining

    @contextmanager
    def opened(self, *, skips_damage: bool = False) -> Iterator[Writable]:
        self._joining.begin(self._subject, skips_damage=skips_damage)
        try:
            yield self._joining
            self.ends_whole = self._joining.end()
        except BaseException:
            self._joining.roll_back()
            raise


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
