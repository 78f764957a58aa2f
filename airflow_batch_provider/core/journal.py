"""
A run's saved progress, as a value.

The journal is written before and after every paid call, so that whatever finds it knows what may have happened. It is
read by other processes and later versions, hence plain JSON with a version, and steps that only go forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from airflow_batch_provider.core.identity import TaskIdentity
from airflow_batch_provider.core.status import BatchStatus
from airflow_batch_provider.exceptions import JournalUnreadableError

VERSION = 1

# planned -> uploaded -> created -> landed -> cleaned. "created" is noted twice: the intent and the id, see `submission`.
Step = Literal["planned", "uploaded", "created", "landed", "cleaned"]
_STEPS: tuple[str, ...] = get_args(Step)


@dataclass
class Piece:
    """
    One shard in one round.

    :param number: From 0 within its round.
    :param round: The round, from 0.
    :param group: Shards of one group hold consecutive parts of the input's requests.
    :param endpoint: Endpoint of its requests.
    :param requests: How many.
    :param bytes: Size of the shard file.
    :param first_index: Position in the input of the first request, when they are consecutive; else None, and the
        positions are in a file beside the shard.
    :param step: How far it is.
    :param submission: What :mod:`airflow_batch_provider.submission` notes: key, and the batch's id once known.
    :param file_ids: Files at the service that are ours to delete.
    :param landed_file: File of the rows that came back, in the run's folder of such files.
    :param landed_offset: Where in it they begin.
    :param landed_bytes: How many bytes they have.
    :param status: Status the batch ended with.
    :param counts: Requests by outcome, those that go again left out.
    :param reasons: Why requests did not succeed; ``final_reasons`` leaves out those that go again.
    :param open: Requests that go again.
    :param duplicates: Further result lines for a request that had its answer; ``strangers``: lines for nobody.
    :param created_at: Epoch seconds when the batch was created.
    :param seen: Status and count when the batch was last looked at, and ``changed_at`` when they last changed.
    :param cancelled_at: Epoch seconds when the batch was cancelled for standing still; of an abandoned piece, when it was
        sure that nothing of it runs on.
    """

    number: int
    round: int
    group: int
    endpoint: str
    requests: int
    bytes: int
    first_index: int | None = None
    step: Step = "planned"
    input_file_id: str | None = None
    submission: dict[str, Any] | None = None
    file_ids: list[str] = field(default_factory=list)
    landed_file: str = ""
    landed_offset: int = 0
    landed_bytes: int = 0
    status: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    final_reasons: dict[str, int] = field(default_factory=dict)
    open: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    duplicates: int = 0
    strangers: int = 0
    created_at: float = 0.0
    seen: str = ""
    changed_at: float = 0.0
    cancelled_at: float | None = None

    @property
    def name(self) -> str:
        """Stem of its files: round and number."""
        return f"{self.round}-{self.number:05d}"

    @property
    def batch_id(self) -> str | None:
        """The batch, once it is known."""
        return (self.submission or {}).get("batch_id")

    def is_at_least(self, step: Step) -> bool:
        """
        Say whether the piece has got this far.

        :param step: The step.
        """
        return _STEPS.index(self.step) >= _STEPS.index(step)

    def advance_to(self, step: Step) -> None:
        """
        Note a step.

        :param step: The next one.
        :raises ValueError: It is not the next one; nothing changes.
        """
        if _STEPS.index(step) != _STEPS.index(self.step) + 1:
            raise ValueError(f"A piece that is {self.step} cannot become {step}.")
        self.step = step


@dataclass
class Journal:
    """
    The progress of a run.

    :param owner: The task instance the run belongs to.
    :param fingerprint: Of input and parameters.
    :param started_at: Epoch seconds.
    :param attempt: The try that writes; an older one that finds another's mark stops.
    :param deadline_at: Epoch seconds until which this try waits.
    :param pieces: All pieces of all rounds so far.
    :param abandoned: Pieces of an earlier plan of this run whose results nobody will read.
    :param summary: Set when the run has finished.
    """

    owner: dict[str, Any]
    fingerprint: str
    started_at: float
    attempt: str
    deadline_at: float = 0.0
    requests: int = 0
    bytes: int = 0
    pieces: list[Piece] = field(default_factory=list)
    abandoned: list[Piece] = field(default_factory=list)
    summary: dict[str, Any] | None = None

    @property
    def round(self) -> int:
        """The newest round."""
        return max((piece.round for piece in self.pieces), default=0)

    @property
    def was_refused(self) -> bool:
        """True when the service refused every batch: nothing ran, and nothing is billed."""
        return bool(self.pieces) and all(
            piece.status == BatchStatus.FAILED and not piece.counts.get("succeeded") for piece in self.pieces
        )

    def of_round(self, number: int) -> list[Piece]:
        """
        Pieces of a round, in order.

        :param number: The round.
        """
        return [piece for piece in self.pieces if piece.round == number]

    def owner_identity(self) -> TaskIdentity:
        """The task instance the run belongs to."""
        return TaskIdentity(**self.owner)

    def to_dict(self) -> dict[str, Any]:
        """The journal as plain JSON."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Journal:
        """
        Read a journal.

        :param data: Decoded JSON.
        :param where: Its path, for the error text.
        :raises JournalUnreadableError: It is not a journal of a version this package knows.
        """
        try:
            _check_version(data["version"])
            fields = {key: value for key, value in data.items() if key not in ("version", "pieces", "abandoned")}
            pieces, abandoned = _pieces(data["pieces"]), _pieces(data.get("abandoned", []))
            return cls(**fields, pieces=pieces, abandoned=abandoned)
        except (TypeError, KeyError, ValueError) as error:
            raise JournalUnreadableError(
                f"{where} is not a journal this version can read ({error}). It may tell of batches that are paid for, so "
                "nothing was started. Use the version that wrote it, or another output folder."
            ) from error


def _pieces(data: list[dict[str, Any]]) -> list[Piece]:
    pieces = [Piece(**piece) for piece in data]
    for piece in pieces:
        piece.is_at_least("planned")  # a ValueError for a step nobody knows
    return pieces


def _check_version(version: object) -> None:
    if version != VERSION:
        raise ValueError(f"version {version}")


def total(pieces: Iterable[Piece]) -> tuple[Counter[str], Counter[str]]:
    """
    Add up outcomes and reasons.

    :param pieces: Landed pieces.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for piece in pieces:
        counts.update(piece.counts)
        reasons.update(piece.reasons)
    return counts, reasons
