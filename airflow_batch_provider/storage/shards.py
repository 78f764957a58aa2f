"""The files of a run under ``_run/``: shards, positions of their requests, rows that came back, the journal."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.core.journal import Piece
from airflow_batch_provider.exceptions import JournalUnreadableError
from airflow_batch_provider.storage import paths, whole_files
from airflow_batch_provider.storage.blocks import FilePart, read_blocks

_FOLDERS = ("shards", "landed")


class _Id(msgspec.Struct, gc=False):
    custom_id: str


_count_in = msgspec.json.Decoder(list[msgspec.Raw]).decode


class RunFolder:
    """
    Names and moves the files of a run.

    :param output: The run's output folder: local path or URL.
    """

    def __init__(self, output: str) -> None:
        self.output = output.rstrip("/")

    def path(self, *parts: str) -> str:
        """
        A file of the output folder.

        :param parts: Folders and name.
        """
        return "/".join((self.output, *parts))

    @property
    def journal(self) -> str:
        """Path of the journal."""
        return self.path("_run", "journal.json")

    @property
    def summary(self) -> str:
        """Path of the summary."""
        return self.path("summary.json")

    def is_own(self, path: ObjectStoragePath) -> bool:
        """
        Say whether a file is one that a run writes into this folder.

        :param path: The file.
        """
        output = paths.as_path(self.output)
        if path.fs.protocol != output.fs.protocol or not path.path.startswith(f"{output.path.rstrip('/')}/"):
            return False
        name = path.path.removeprefix(output.path.rstrip("/")).lstrip("/")
        return name.startswith("_run/") or name in ("results.jsonl", "failures.jsonl")

    def shard(self, piece: Piece) -> str:
        """
        Path of what a piece sends.

        :param piece: The piece.
        """
        return self.path("_run", "shards", f"{piece.name}.jsonl")

    def ids(self, piece: Piece) -> str:
        """
        Path of the custom_ids of what a piece sends: lines of JSON arrays, so that landing need not read the shard.

        :param piece: The piece.
        """
        return f"{self.shard(piece)}.ids"

    def landed_file(self, name: str) -> str:
        """
        Path of a file of rows that came back.

        :param name: Its name.
        """
        return self.path("_run", "landed", name)

    def landed(self, piece: Piece) -> FilePart:
        """
        Give the rows that came back for a piece.

        :param piece: The piece, landed.
        """
        return FilePart(self.landed_file(piece.landed_file), piece.landed_offset, piece.landed_bytes)

    def opened(self, piece: Piece, landed_file: str) -> str:
        """
        Path to which the positions of a piece's requests that go again belong.

        :param piece: The piece.
        :param landed_file: Where its rows are: of the positions too every try has a file of its own.
        """
        return self.landed_file(f"{landed_file}.{piece.name}")

    def load_json(self, path: str) -> dict[str, Any] | None:
        """
        Read a JSON object from a file.

        :param path: The file.
        :returns: Its content, or None when there is surely no such file.
        :raises JournalUnreadableError: It is there, or may be, and cannot be read.
        """
        target = paths.as_path(path)
        try:
            with target.open("rb") as stream:
                value = json.loads(stream.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _unreadable(path, type(error).__name__) from error
        if not isinstance(value, dict):
            raise _unreadable(path, "no JSON object")
        return value

    def save_json(self, path: str, value: Any, *, last_check: Callable[[], None] = lambda: None) -> None:
        """
        Write a JSON file, whole or not at all.

        :param path: The file.
        :param value: Plain JSON.
        :param last_check: May raise to keep the file from appearing.
        """
        with whole_files.WholeFile(paths.as_path(path), last_check=last_check) as stream:
            stream.write(json.dumps(value, indent=1).encode())

    def save_positions(self, path: str, positions: Sequence[int]) -> None:
        """
        Keep positions beside a file.

        :param path: The file they belong to.
        :param positions: Numbers.
        """
        with whole_files.WholeFile(paths.as_path(f"{path}.positions")) as stream:
            stream.write(array("q", positions).tobytes())

    def load_positions(self, path: str) -> array[int]:
        """
        Read positions back.

        :param path: The file they belong to.
        """
        positions = array("q")
        with paths.as_path(f"{path}.positions").open("rb") as stream:
            positions.frombytes(stream.read())
        return positions

    def indices(self, piece: Piece) -> Sequence[int]:
        """
        Positions in the input of a piece's requests.

        :param piece: The piece.
        """
        if piece.first_index is not None:
            return range(piece.first_index, piece.first_index + piece.requests)
        return self.load_positions(self.shard(piece))

    def id_lines(self, piece: Piece) -> bytes:
        """
        The custom_ids of a piece's requests, in order: lines of JSON arrays.

        :param piece: The piece.
        """
        with suppress(FileNotFoundError), paths.as_path(self.ids(piece)).open("rb") as stream:
            lines = bytes(stream.read())
            if piece.requests == _separated(lines) or piece.requests == _count_ids(lines):
                return lines
        # Planned by an older version, or damaged.
        decode = msgspec.json.Decoder(_Id).decode
        ids = [row.custom_id for requests in read_blocks(self.shard(piece)) for row in map(decode, requests)]
        return msgspec.json.encode(ids)

    def requests_at(self, piece: Piece, positions: Sequence[int]) -> Iterator[bytes]:
        """
        Some requests of a piece.

        :param piece: The piece.
        :param positions: Their positions in it, ascending.
        """
        wanted = iter(positions)
        following, number = next(wanted, None), 0
        for lines in read_blocks(self.shard(piece)):
            while following is not None and following < number + len(lines):
                yield lines[following - number]
                following = next(wanted, None)
            number += len(lines)
            if following is None:
                return

    def files_of(self, piece: Piece) -> list[str]:
        """
        All files that planning makes of a piece.

        :param piece: The piece.
        """
        shard = self.shard(piece)
        return [shard, f"{shard}.positions", self.ids(piece)]

    def remove(self, paths_to_remove: Iterable[str]) -> None:
        """
        Remove files; those that are gone count.

        :param paths_to_remove: The files.
        """
        for path in paths_to_remove:
            with suppress(FileNotFoundError):
                paths.as_path(path).unlink()

    def has_run_files(self) -> bool:
        """Say whether shards or rows are left."""
        return any(paths.as_path(self.path("_run", name)).exists() for name in _FOLDERS)

    def remove_unfinished(self) -> None:
        """Remove what killed workers left of the files they were writing, on local disk; object stores show none."""
        own = [("", f".{name}.*.part") for name in ("results.jsonl", "failures.jsonl", "summary.json")]
        for folder, pattern in [*own, ("_run", ".*.part"), ("_run/shards", ".*.part")]:
            local = paths.local_path(paths.as_path(self.path(folder)))
            for path in [] if local is None else local.glob(pattern):
                path.unlink(missing_ok=True)

    def remove_landed(self) -> None:
        """Remove all rows that came back, also those of lost tries, which no journal tells of."""
        folder = paths.as_path(self.path("_run", "landed"))
        folder.fs.invalidate_cache()  # s3fs remembers listings, also of before somebody else added files
        with suppress(FileNotFoundError):
            self.remove([self.landed_file(path.name) for path in folder.iterdir()])

    def remove_empty_folders(self) -> None:
        """Remove the folders of shards and rows where folders exist, which is on local disk."""
        for name in _FOLDERS:
            local = paths.local_path(paths.as_path(self.path("_run", name)))
            if local is not None:
                with suppress(OSError):
                    local.rmdir()


def _separated(lines: bytes) -> int:
    """Count ids by what lies between them. Wrong when ids have quotes or commas of their own, else as good and quicker."""
    return lines.count(b'","') + lines.count(b"\n")


def _count_ids(lines: bytes) -> int:
    try:
        return sum(len(_count_in(line)) for line in lines.splitlines())
    except msgspec.DecodeError:
        return -1


def _unreadable(path: str, why: str) -> JournalUnreadableError:
    return JournalUnreadableError(
        f"{path} cannot be read ({why}). It may tell of batches that are paid for, so nothing was started. If it is "
        "damaged, look at the service's console before you remove it."
    )
