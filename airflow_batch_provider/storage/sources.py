"""Where requests come from: a JSON lines file, a compressed one, a folder or a glob of them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths

SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
_GLOB_MARKS = frozenset("*?[")


def find_files(source: str) -> list[ObjectStoragePath]:
    """
    Find the files of an input, in the order of their names.

    :param source: A file, a folder (its JSON lines files) or a glob in the last part of the path.
    :raises InputError: There is none.
    """
    path = paths.as_path(source)
    path.fs.invalidate_cache()  # s3fs remembers listings, also of before somebody else added files
    if _GLOB_MARKS & set(path.name) and not path.is_file():  # a name may have such marks itself
        found = sorted((each for each in path.parent.glob(path.name) if each.is_file()), key=str)
    elif path.is_dir():
        found = sorted((each for each in path.iterdir() if each.name.endswith(SUFFIXES) and each.is_file()), key=str)
    else:
        found = [path] if path.exists() else []
    if not found:
        raise InputError(
            f"There is no JSON lines file at {source}; nothing was sent. Give a file, a folder of {', '.join(SUFFIXES)} "
            "files, or a glob; check the path and its connection."
        )
    return found


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
