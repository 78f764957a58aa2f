from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_batch_provider
from airflow_batch_provider.core.status import BatchStatus

PACKAGE = Path(airflow_batch_provider.__file__).parent
# killed.py compares states of Airflow's tasks.
EXEMPT = {"core/status.py", "core/events.py", "hooks/killed.py"}

# As seen on wires: OpenAI, Bedrock (retrieve and list), Vertex, Cohere, Novita and both spellings of "cancel".
SPELLINGS = {
    BatchStatus.VALIDATING: "validating Validating VALIDATING submitted Submitted scheduled Scheduled pending queued",
    BatchStatus.IN_PROGRESS: "in_progress InProgress IN_PROGRESS in-progress processing PROGRESS running",
    BatchStatus.FINALIZING: "finalizing finalising FINALIZING",
    BatchStatus.COMPLETED: "completed Completed COMPLETED complete partially_completed PartiallyCompleted",
    BatchStatus.FAILED: "failed Failed FAILED",
    BatchStatus.EXPIRED: "expired Expired EXPIRED",
    BatchStatus.CANCELLING: "cancelling canceling stopping Stopping CANCELLING",
    BatchStatus.CANCELLED: "cancelled canceled stopped Stopped CANCELLED",
}
CASES = [(spelling, status) for status, words in SPELLINGS.items() for spelling in words.split()]


@pytest.mark.parametrize(("spelling", "status"), CASES, ids=[case[0] for case in CASES])
def test_every_spelling_is_normalised(spelling: str, status: BatchStatus) -> None:
    """Snake, Pascal and upper case, dashes and the dialects of providers all give OpenAI's word."""
    assert BatchStatus.from_wire(spelling) is status
    assert BatchStatus.from_wire(f" {spelling}\n") is status


@pytest.mark.parametrize("text", ["success", "", "ready", "unknown", "in progress ?", None, 5, True, ["completed"], {}])
def test_what_no_table_knows_is_unknown(text: object) -> None:
    """Other words (also "success", a cancel call's answer) and other types say nothing about a batch."""
    assert BatchStatus.from_wire(text) is BatchStatus.UNKNOWN


def test_only_four_statuses_have_ended() -> None:
    """A batch that is being cancelled still settles, and an unknown status is waited out."""
    ended = {status for status in BatchStatus if status.has_ended}

    assert ended == {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
    assert not BatchStatus.CANCELLING.has_ended
    assert not BatchStatus.UNKNOWN.has_ended


def test_expired_and_cancelled_batches_may_have_results() -> None:
    """What was paid for before the end is kept; a refused batch has nothing."""
    with_results = {status for status in BatchStatus if status.may_have_results}

    assert with_results == {BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}


def test_a_batch_is_cancelled_once() -> None:
    """Cancelling makes sense while a batch runs, also when its status is unknown, and not again."""
    may = {status for status in BatchStatus if status.may_be_cancelled}

    assert may == {BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.UNKNOWN}


def quoted_statuses(tree: ast.AST) -> set[str]:
    """Return the status words that are compared, matched or looked up in a module."""
    words = {word.lower() for _, words in SPELLINGS.items() for word in words.split()} | {"success", "partial"}
    places: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            places += [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            places.append(node.value)
    constants = [inner for place in places for inner in ast.walk(place) if isinstance(inner, ast.Constant)]
    return {str(constant.value) for constant in constants if str(constant.value).lower() in words}


def test_the_search_for_quoted_statuses_finds_them() -> None:
    """The next test can fail: comparisons, memberships and match cases are all seen."""
    source = "a = x == 'completed' or y in ('failed', 1)\nmatch z:\n    case 'InProgress':\n        pass\nb = 'expired'"

    assert quoted_statuses(ast.parse(source)) == {"completed", "failed", "InProgress"}


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if "sandbox" not in path.parts and path.relative_to(PACKAGE).as_posix() not in EXEMPT
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_other_module_compares_a_status_with_text(path: Path) -> None:
    """Statuses are told apart by ``BatchStatus`` alone, so that a new spelling is added in one place."""
    assert quoted_statuses(ast.parse(path.read_text(encoding="utf-8"))) == set()
