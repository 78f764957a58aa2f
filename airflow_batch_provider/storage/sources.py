"""Where requests come from: a JSON lines file, a compressed one, a folder or a glob of them."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, cast

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths

SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_GLOB_MARKS = frozenset("*?[")


def find_files(
    source: str, *, is_own: Callable[[ObjectStoragePath], bool] = lambda _: False
) -> list[ObjectStoragePath]:
    """
    Find the files of an input, in the order of their full paths.

    :param source: A file, a folder (its JSON lines files, not those of folders in it), or a glob: ``*``, ``?`` and
        ``[...]`` in any part of the path, ``**`` for any number of folders.
    :param is_own: Says which files of a folder or glob are the run's own; they are left out.
    :raises InputError: There is none.
    """
    path = paths.as_path(source)
    path.fs.invalidate_cache()  # s3fs remembers listings, also of before somebody else added files
    if path.is_dir():
        found = [each for each in path.iterdir() if each.name.endswith(SUFFIXES) and each.is_file()]
    else:
        found = [path] if path.exists() else _matching(path)
    found = [each for each in found if each == path or not is_own(each)]
    if not found:
        raise InputError(
            f"There is no JSON lines file at {source}; nothing was sent. Give a file, a folder of {', '.join(SUFFIXES)} "
            "files, or a glob; check the path and its connection."
        )
    return sorted(found, key=str)


def _matching(path: ObjectStoragePath) -> list[ObjectStoragePath]:
    """Find the files that a glob means. It begins with the first part that has marks and is not really called so."""
    parts = [*reversed(path.parents), path]
    for number, part in enumerate(parts):
        if _GLOB_MARKS & set(part.name) and not part.exists():
            pattern = "/".join(_one_star(each.name) for each in parts[number:])
            pattern += "/*" if path.name == "**" else ""  # for pathlib that would be folders only
            return _on_disk(part.parent, pattern) if paths.local_path(part) else _in_store(part.parent, pattern)
    return []


def _one_star(name: str) -> str:
    """Inside of a name two stars mean what one does; neither pathlib nor fsspec takes them."""
    return name if name == "**" else re.sub(r"\*+", "*", name)


def _on_disk(folder: ObjectStoragePath, pattern: str) -> list[ObjectStoragePath]:
    # fsspec would go through folders that cannot match, and not through those behind links.
    root = paths.on_disk(folder)
    return [folder / str(found.relative_to(root)) for found in set(root.glob(pattern)) if found.is_file()]


def _in_store(folder: ObjectStoragePath, pattern: str) -> list[ObjectStoragePath]:
    # folder.glob() does not tell what the listing says of each file: the store would be asked for it again.
    root = folder.path.rstrip("/")
    found = folder.fs.glob(f"{glob.escape(root)}/{pattern}", detail=True)
    return [folder / name.removeprefix(f"{root}/") for name, info in found.items() if info["type"] == "file"]


def names(files: Sequence[ObjectStoragePath]) -> list[str]:
    """
    Name files so that they can be told apart: by their names, or from the folder on that they share.

    :param files: The files.
    """
    plain = [path.name for path in files]
    if len(set(plain)) == len(plain):
        return plain
    shared = os.path.commonpath([path.parent.path for path in files])
    return [path.path.removeprefix(shared).lstrip("/") for path in files]


@contextmanager
def open_lines(path: ObjectStoragePath) -> Iterator[IO[bytes]]:
    """
    Open a file of lines, decompressed.

    :param path: The file.
    """
    with paths.open_input(path) as raw:
        if not path.name.endswith(".gz"):
            yield raw
            return
        with gzip.open(raw, "rb") as unpacked:
            yield cast("IO[bytes]", unpacked)


def fingerprint(files: list[ObjectStoragePath], parameters: object) -> str:
    """
    Identify an input as it is now, with the parameters that decide what is made of it.

    Sizes and times (or checksums, where the storage has them) are compared, not contents: reading everything again
    would cost as much as planning.

    :param files: The files.
    :param parameters: Plain values.
    """
    facts = [[str(path), *_version(path)] for path in files]
    text = json.dumps([facts, parameters], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _version(path: ObjectStoragePath) -> list[str]:
    info = path.fs.info(path.path)
    marks = ("ETag", "etag", "md5Hash", "content_settings", "mtime", "LastModified", "last_modified")
    return [str(info.get("size")), next((str(info[mark]) for mark in marks if info.get(mark)), "")]
