"""Where requests come from: a file, a folder or a glob, compressed or not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from airflow_batch_provider.exceptions import InputError
from airflow_batch_provider.storage import paths, sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of inputs and of things that are none."""
    (tmp_path / "more.jsonl").mkdir()
    for name in ("b.jsonl", "a.jsonl.gz", "c.ndjson", "d.ndjson.gz", "README.md", "_SUCCESS", "e.json"):
        content = b"{}\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return tmp_path


def names(source: str) -> list[str]:
    return [path.name for path in sources.find_files(source)]


def below(root: Path, source: str) -> list[str]:
    """Paths of the files that are found, from a folder on."""
    return [str(Path(path.path).relative_to(root)) for path in sources.find_files(source)]


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"{}\n")


def test_a_file_is_taken_whatever_its_name(folder: Path) -> None:
    """The user named it."""
    assert names(str(folder / "e.json")) == ["e.json"]


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_its_json_lines_files_in_order(folder: Path, end: str) -> None:
    """Other files and folders in it are not looked at."""
    assert names(f"{folder}{end}") == ["a.jsonl.gz", "b.jsonl", "c.ndjson", "d.ndjson.gz"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("*.jsonl", ["b.jsonl"], id="star"),
        pytest.param("?.ndjson*", ["c.ndjson", "d.ndjson.gz"], id="question-mark"),
        pytest.param("[ab].*", ["a.jsonl.gz", "b.jsonl"], id="set"),
    ],
)
def test_a_glob_is_the_files_that_match(folder: Path, pattern: str, found: list[str]) -> None:
    """In the order of their names."""
    assert names(str(folder / pattern)) == found


@pytest.mark.parametrize("name", ["a[b].jsonl", "what?.jsonl", "all*.jsonl"])
def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path, name: str) -> None:
    """The user named it, and what is there is meant; others that would match are not read."""
    for each in (name, "ab.jsonl", "whats.jsonl", "all of them.jsonl"):
        (tmp_path / each).write_bytes(b"{}\n")

    assert names(str(tmp_path / name)) == [name]


@pytest.fixture
def partitions(tmp_path: Path) -> Path:
    """Give a folder of folders of inputs."""
    put(
        tmp_path,
        "dt=2/part-1.jsonl",
        "dt=1/part-2.jsonl",
        "dt=1/part-1.jsonl",
        "dt=1/other.jsonl",
        "dt=10/part-0.jsonl",
    )
    put(tmp_path, "dt=1/late/part-9.jsonl", "part-0.jsonl", "x/part-1.jsonl", "dt=3/part-1.csv")
    (tmp_path / "dt=4" / "part-1.jsonl").mkdir(parents=True)
    return tmp_path


PARTITIONED = ["dt=1/part-1.jsonl", "dt=1/part-2.jsonl", "dt=10/part-0.jsonl", "dt=2/part-1.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("dt=*/part-*.jsonl", PARTITIONED, id="both"),
        pytest.param("dt=?/part-1.jsonl", ["dt=1/part-1.jsonl", "dt=2/part-1.jsonl"], id="folder"),
        pytest.param("dt=[13]/late/*", ["dt=1/late/part-9.jsonl"], id="set"),
        pytest.param("d**/part-*.jsonl", PARTITIONED, id="two-stars-inside-a-name-are-one"),
        pytest.param("dt=1/**/part-*.jsonl", ["dt=1/late/part-9.jsonl", *PARTITIONED[:2]], id="any-depth"),
        pytest.param(
            "**/part-1.jsonl", ["dt=1/part-1.jsonl", "dt=2/part-1.jsonl", "x/part-1.jsonl"], id="from-the-top"
        ),
        pytest.param("**/late/**", ["dt=1/late/part-9.jsonl"], id="all-below"),
        pytest.param("**/**/late/**", ["dt=1/late/part-9.jsonl"], id="once-though-found-twice"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_glob_may_have_marks_in_any_part(partitions: Path, pattern: str, found: list[str], prefix: str) -> None:
    """The files that match, and no folders, in the order of their full paths."""
    assert below(partitions, f"{prefix}{partitions}/{pattern}") == found


def test_a_glob_may_be_relative(partitions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the folder in which the task runs, like any path."""
    monkeypatch.chdir(partitions.parent)

    assert [str(path) for path in sources.find_files(f"{partitions.name}/x/*.jsonl")] == [
        f"{partitions.name}/x/part-1.jsonl"
    ]


def test_a_glob_finds_what_is_behind_links(partitions: Path, tmp_path: Path) -> None:
    """A folder or file that stands somewhere else is as good as any."""
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "dt=8").symlink_to(partitions / "x")
    (tmp_path / "linked" / "dt=9").mkdir()
    (tmp_path / "linked" / "dt=9" / "part-0.jsonl").symlink_to(partitions / "part-0.jsonl")

    assert below(tmp_path / "linked", f"{tmp_path}/linked/dt=*/part-*.jsonl") == [
        "dt=8/part-1.jsonl", "dt=9/part-0.jsonl"
    ]  # fmt: skip


def test_folders_whose_names_look_like_globs_are_those_folders(tmp_path: Path) -> None:
    """Marks count only where nothing has them in its name."""
    put(tmp_path, "[ab]/*/a.jsonl", "[ab]/c/a.jsonl", "a/*/a.jsonl", "[ab]/*/[c].jsonl", "[ab]/*/c.jsonl")

    assert below(tmp_path, f"{tmp_path}/[ab]/*/?.jsonl") == ["[ab]/*/a.jsonl", "[ab]/*/c.jsonl"]
    assert below(tmp_path, f"{tmp_path}/[ab]/*/[c].jsonl") == ["[ab]/*/[c].jsonl"]
    assert below(tmp_path, f"{tmp_path}/[ab]/*") == ["[ab]/*/[c].jsonl", "[ab]/*/a.jsonl", "[ab]/*/c.jsonl"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(["x/a.jsonl"], ["a.jsonl"], id="one"),
        pytest.param(["x/a.jsonl", "y/b.jsonl"], ["a.jsonl", "b.jsonl"], id="different"),
        pytest.param(["in/dt=1/a.jsonl", "in/dt=2/a.jsonl"], ["dt=1/a.jsonl", "dt=2/a.jsonl"], id="same"),
        pytest.param(["in/a.jsonl", "in/x/a.jsonl", "in/x/b"], ["a.jsonl", "x/a.jsonl", "x/b"], id="above"),
        pytest.param(["in/a/a", "in/a"], ["a/a", "a"], id="file-and-folder-of-a-store"),
        pytest.param(["s3://lake/one/a", "s3://lake/two/a"], ["one/a", "two/a"], id="store"),
    ],
)
def test_files_are_named_so_that_they_can_be_told_apart(files: list[str], expected: list[str]) -> None:
    """By their names, where they share one from the folder on in which all are."""
    assert sources.names([paths.as_path(name) for name in files]) == expected


@pytest.mark.parametrize(
    "source", ["missing.jsonl", "*.csv", "empty", "empty/", "nowhere/in.jsonl", "no*/in.jsonl", "**/in.jsonl"]
)
def test_no_input_is_an_error_that_names_the_place(tmp_path: Path, source: str) -> None:
    """Nothing to send is never a success."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no JSON lines file at .*nothing was sent") as error:
        sources.find_files(str(tmp_path / source))
    assert source.rstrip("/") in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "b.jsonl"])
def test_lines_come_decompressed(folder: Path, name: str) -> None:
    """A reader does not see whether a file was compressed."""
    with sources.open_lines(sources.find_files(str(folder / name))[0]) as stream:
        assert stream.read() == b"{}\n"


def fingerprint(folder: Path, parameters: object = None) -> str:
    return sources.fingerprint(sources.find_files(str(folder)), parameters)


def test_the_fingerprint_of_an_untouched_input_stays(folder: Path) -> None:
    """Looking twice is no change."""
    assert fingerprint(folder, ["p", 1]) == fingerprint(folder, ["p", 1])


def test_every_change_of_the_input_changes_the_fingerprint(folder: Path) -> None:
    """Size, time, names, number of files and parameters all count."""
    seen = {fingerprint(folder), fingerprint(folder, ["p"])}
    (folder / "b.jsonl").write_bytes(b"{ }\n")
    seen.add(fingerprint(folder))
    os.utime(folder / "b.jsonl", (1, 1))
    seen.add(fingerprint(folder))
    (folder / "b.jsonl").rename(folder / "z.jsonl")
    seen.add(fingerprint(folder))
    (folder / "z.jsonl").unlink()
    seen.add(fingerprint(folder))
    assert len(seen) == 6
