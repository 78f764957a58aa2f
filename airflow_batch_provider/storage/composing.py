"""
Objects put together by the store that has them, so that their bytes do not come here and go back.

S3 makes the parts of an upload of objects that are there (UploadPartCopy). Other stores are not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.blocks import FilePart

log = logging.getLogger(__name__)

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html; the last part may be smaller. A part may be five times
# as large, but s3fs waits 15 s for an answer, which comes when all is copied.
MIN_PART_BYTES, MAX_PART_BYTES, MAX_PARTS = 5 << 20, 1 << 30, 10_000
PARTS_AT_A_TIME = 4


class _StoreError(Exception):
    """The store has not done what it was asked for."""


def compose_whole(
    parts: Sequence[FilePart], path: ObjectStoragePath, *, last_check: Callable[[], None] = lambda: None
) -> bool:
    """
    Let objects become one; it appears whole or not at all.

    :param parts: Whole objects of the same store, in order.
    :param path: Where it shall appear; what is there is replaced.
    :param last_check: Called when all is ready; the object does not appear when it raises.
    :returns: False when this store cannot do that, or not with these.
    """
    if not hasattr(path.fs, "call_s3") or not _fit(parts):
        return False
    upload = _Upload(path)
    try:
        upload.begin()
        with ThreadPoolExecutor(PARTS_AT_A_TIME) as pool:
            copied = list(pool.map(upload.copy, range(1, len(parts) + 1), parts))
        last_check()
        upload.complete(copied, sum(part.bytes for part in parts))
    except _StoreError as error:
        upload.abort()
        log.info("%s is not put together by its store (%s): the rows pass through here.", path, error)
        return False
    except BaseException:
        upload.abort()
        raise
    return True


def _fit(parts: Sequence[FilePart]) -> bool:
    sizes = [part.bytes for part in parts]
    smallest, largest = min(sizes[:-1], default=MIN_PART_BYTES), max(sizes, default=0)
    return 0 < len(parts) <= MAX_PARTS and smallest >= MIN_PART_BYTES and largest <= MAX_PART_BYTES


class _Upload:
    """
    An upload whose parts are objects of the store.

    :param path: What it becomes.
    """

    def __init__(self, path: ObjectStoragePath) -> None:
        self._path = path
        self._where = _place(path)

    def begin(self) -> None:
        self._where["UploadId"] = _said(self._call("create_multipart_upload"), "UploadId")

    def copy(self, number: int, part: FilePart) -> dict[str, Any]:
        source = paths.as_path(part.path)
        _see_size(source, part.bytes)
        answer = _said(self._call("upload_part_copy", PartNumber=number, CopySource=_place(source)), "CopyPartResult")
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        return {"PartNumber": number, "ETag": _said(answer, "ETag"), **sums}

    def complete(self, copied: list[dict[str, Any]], size: int) -> None:
        self._call("complete_multipart_upload", MultipartUpload={"Parts": copied}, MpuObjectSize=size)
        self._path.fs.invalidate_cache(self._path.path)
        _see_size(self._path, size)  # its parts are deleted soon, and some only say that they know parts

    def abort(self) -> None:
        """Leave nothing; what stands in the way is told, and does not hide why there is no object."""
        if "UploadId" not in self._where:
            return
        try:
            self._call("abort_multipart_upload")
        except _StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):  # else it is not unfinished
                log.warning(
                    "The unfinished upload %s of %s could not be aborted (%s): its parts are stored, and cost. Abort it, or "
                    "give the bucket a rule that does so.", self._where["UploadId"], self._path, error,
                )  # fmt: skip

    def _call(self, method: str, **options: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._path.fs.call_s3(method, **self._where, **options)
        except Exception as error:  # storage clients have exceptions of their own
            raise _StoreError(type(error).__name__) from error
        return answer


def _said(answer: dict[str, Any], name: str) -> Any:
    """Some stores answer 200 and say nothing (jamhall/s3rver#436)."""
    if not answer.get(name):
        raise _StoreError(f"its answer has no {name}")
    return answer[name]


def _see_size(path: ObjectStoragePath, size: int) -> None:
    try:
        found = paths.file_size(path)
    except Exception as error:
        raise _StoreError(type(error).__name__) from error
    if found != size:
        raise _StoreError(f"{path} has {found:,} bytes, not {size:,}")


def _place(path: ObjectStoragePath) -> dict[str, str]:
    bucket, _, key = path.path.partition("/")
    return {"Bucket": bucket, "Key": key}
