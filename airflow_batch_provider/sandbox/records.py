"""One JSON file per record, so that ten thousand of them cost ten thousand small writes and no large one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

R = TypeVar("R", bound=msgspec.Struct)


class RecordFolder(Generic[R]):
    """
    A folder of records that survives a restart.

    :param folder: Where the records are.
    :param record_type: What they are.
    :param is_kept: False for a temporary sandbox: then nothing is written, because nobody will ever read it.
    """

    def __init__(self, folder: Path, record_type: type[R], *, is_kept: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._decoder = msgspec.json.Decoder(record_type)
        self._is_kept = is_kept

    def save(self, name: str, record: R) -> None:
        """Write a record; a crash leaves the old one or the new one, never half of one."""
        if self._is_kept:
            aside = self._folder / f"{name}.json.part"
            aside.write_bytes(msgspec.json.encode(record))
            aside.replace(self._folder / f"{name}.json")

    def remove(self, name: str) -> None:
        """Forget a record."""
        if self._is_kept:
            (self._folder / f"{name}.json").unlink(missing_ok=True)

    def load(self) -> Iterator[R]:
        """Yield the records an earlier sandbox left behind, in no particular order."""
        for path in self._folder.glob("*.json"):
            yield self._decoder.decode(path.read_bytes())
