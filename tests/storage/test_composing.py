"""Objects that the store puts together: whole or not at all, and what it cannot do is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_batch_provider.storage import paths
from airflow_batch_provider.storage.blocks import FilePart
from airflow_batch_provider.storage.composing import MAX_PARTS, MIN_PART_BYTES, compose_whole
from tests.storage.test_s3 import Lake, lake, s3  # noqa: F401 - fixtures

LARGE = [b"a" * MIN_PART_BYTES, b"b" * (MIN_PART_BYTES + 1), b"c"]


def put(lake: Lake, contents: list[bytes]) -> list[FilePart]:  # noqa: F811 - the fixture's value
    """Put objects into the bucket, the last with a name that needs care."""
    names = [*map(str, range(len(contents) - 1)), "last é+ &"]
    return [
        FilePart(lake.url(f"parts/{name}"), 0, len(content))
        for name, content in zip(names, contents, strict=True)
        if lake.put(f"parts/{name}", content)
    ]


def compose(lake: Lake, parts: list[FilePart], **options: Any) -> bool:  # noqa: F811
    return compose_whole(parts, paths.as_path(lake.url("out.jsonl")), **options)


def before_calls(lake: Lake, patch: pytest.MonkeyPatch, do: Callable[[str, dict[str, Any]], Any]) -> None:  # noqa: F811
    """Do something before each call to the store; what it returns, if anything, is the answer."""
    fs: Any = paths.as_path(lake.url("out.jsonl")).fs
    call = fs.call_s3

    def changed(name: str, **options: Any) -> Any:
        answer = do(name, options)
        return call(name, **options) if answer is None else answer

    patch.setattr(fs, "call_s3", changed)


def test_objects_become_one_in_their_order(lake: Lake) -> None:  # noqa: F811
    """By the store: as many parts as there were objects. What was there is replaced, the others stay."""
    lake.put("out.jsonl", b"old")
    paths.file_size(paths.as_path(lake.url("out.jsonl")))  # s3fs remembers what it saw

    assert compose(lake, put(lake, LARGE))

    assert lake.get("out.jsonl") == b"".join(LARGE)
    assert lake.s3.head_object(Bucket="lake-of-tests", Key="out.jsonl")["ETag"].endswith('-3"')
    assert paths.file_size(paths.as_path(lake.url("out.jsonl"))) == sum(map(len, LARGE))
    assert lake.get("parts/0") == LARGE[0]


def test_one_object_may_be_of_any_size(lake: Lake) -> None:  # noqa: F811
    """The last part may be small, and a single one is the last."""
    assert compose(lake, put(lake, [b"small"]))
    assert lake.get("out.jsonl") == b"small"


def test_nothing_appears_when_the_last_look_forbids_it(lake: Lake) -> None:  # noqa: F811
    """Another try owns the run by now: its object stays, and no unfinished upload is left to pay for."""
    lake.put("out.jsonl", b"of the other try")

    def refuse() -> None:
        raise RuntimeError("another try")

    with pytest.raises(RuntimeError, match="another try"):
        compose(lake, put(lake, LARGE), last_check=refuse)

    assert lake.get("out.jsonl") == b"of the other try"
    assert lake.unfinished() == []


@pytest.mark.parametrize("change", ["gone", "shorter", "longer"])
def test_objects_that_are_not_what_was_written_are_left_to_who_reads_them(lake: Lake, change: str) -> None:  # noqa: F811
    """Nothing is made of them here; who reads them can tell a person of rows that are missing."""
    parts = put(lake, LARGE)
    if change == "gone":
        lake.s3.delete_object(Bucket="lake-of-tests", Key="parts/1")
    else:
        lake.put("parts/1", LARGE[1] + b"x" if change == "longer" else LARGE[1][:-1])

    assert not compose(lake, parts)
    assert "out.jsonl" not in lake.objects()
    assert lake.unfinished() == []


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([MIN_PART_BYTES - 1, 1], id="small"),
        pytest.param([MIN_PART_BYTES] * (MAX_PARTS + 1), id="many"),
        pytest.param([(1 << 30) + 1], id="large"),
        pytest.param([], id="none"),
    ],
)
def test_what_the_store_would_refuse_is_not_begun(lake: Lake, sizes: list[int]) -> None:  # noqa: F811
    """The limits of S3 are known beforehand; the objects need not be there to see it."""
    assert not compose(lake, [FilePart(lake.url("parts/x"), 0, size) for size in sizes])
    assert lake.unfinished() == []


METHODS = ["create_multipart_upload", "upload_part_copy", "complete_multipart_upload"]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        *(pytest.param(method, NotImplementedError(), id=f"{method}-refused") for method in METHODS),
        *(pytest.param(method, {}, id=f"{method}-nothing-said") for method in METHODS),
        pytest.param("upload_part_copy", {"CopyPartResult": {}}, id="upload_part_copy-nothing-said-of-the-part"),
    ],
)
def test_a_store_that_cannot_do_it_is_not_insisted_on(
    lake: Lake,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    answer: Exception | dict[str, Any],
) -> None:
    """Some speak S3 and know no copying of parts, or forbid it, or say they did: the caller writes the object itself."""
    parts = put(lake, LARGE)

    def without(name: str, options: dict[str, Any]) -> Any:
        if name == method and isinstance(answer, Exception):
            raise answer
        return answer if name == method else None

    before_calls(lake, monkeypatch, without)

    assert not compose(lake, parts)
    assert "out.jsonl" not in lake.objects()
    assert lake.unfinished() == []


def test_an_object_that_is_not_as_large_as_its_parts_does_not_count(
    lake: Lake,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its parts are deleted soon. A store that copied less than it said is found out, and nobody is sent to look for parts."""
    parts = put(lake, LARGE)

    def forget(name: str, options: dict[str, Any]) -> None:
        if name == "complete_multipart_upload":
            options["MultipartUpload"]["Parts"].pop()

    before_calls(lake, monkeypatch, forget)

    assert not compose(lake, parts)
    assert "could not be aborted" not in caplog.text


def test_parts_that_stay_are_told_with_what_to_do(
    lake: Lake,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody sees them in the bucket, and they cost."""
    parts = put(lake, LARGE)

    def forbid(name: str, options: dict[str, Any]) -> None:
        if name in ("complete_multipart_upload", "abort_multipart_upload"):
            raise PermissionError("Access Denied")

    with monkeypatch.context() as patch:
        before_calls(lake, patch, forbid)
        assert not compose(lake, parts)
    (left,) = lake.s3.list_multipart_uploads(Bucket="lake-of-tests")["Uploads"]
    lake.s3.abort_multipart_upload(Bucket="lake-of-tests", Key="out.jsonl", UploadId=left["UploadId"])

    assert f"The unfinished upload {left['UploadId']} of s3://lake@lake-of-tests/out.jsonl could not be" in caplog.text
    assert "give the bucket a rule" in caplog.text


def test_other_stores_are_not_asked(tmp_path: Path) -> None:
    """A local disk has links instead."""
    assert not compose_whole([FilePart(str(tmp_path / "x"), 0, 1)], paths.as_path(str(tmp_path / "out.jsonl")))
