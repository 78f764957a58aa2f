"""What a run is asked to do, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from airflow_batch_provider.core.identity import check_metadata
from airflow_batch_provider.core.limits import BatchLimits
from airflow_batch_provider.exceptions import ConfigurationError

OnUnknownSubmission = Literal["fail", "resubmit"]
OnChangedInput = Literal["fail", "restart"]
IfFinished = Literal["reuse", "restart"]


def check_words(**given: tuple[object, object]) -> None:
    """
    Refuse misspelt words: some of them decide whether something is paid twice.

    :param given: By parameter: what the user wrote, and the ``Literal`` of what may be written.
    :raises ConfigurationError: A word is none of them.
    """
    for name, (value, literal) in given.items():
        words = get_args(literal)
        if value not in words:
            either = " or ".join(f'"{word}"' for word in words)
            raise ConfigurationError(f"`{name}` must be {either}, not {value!r}; nothing was sent.")


@dataclass(frozen=True)
class RunOptions:
    """
    What a run does; every field has the operator's default.

    :param max_rounds: Passes over open requests, the first included.
    :param max_active_batches: Batches at a time, or None.
    :param uploads_at_a_time: Shards that are uploaded side by side.
    :param landings_at_a_time: Batches whose results are brought home side by side; each holds up to 48 MB of rows.
    """

    input: str
    output: str
    endpoint: str | None = None
    limits: BatchLimits = field(default_factory=BatchLimits)
    completion_window: str = "24h"
    metadata: Mapping[str, str] = field(default_factory=dict)
    max_rounds: int = 2
    max_active_batches: int | None = None
    uploads_at_a_time: int = 1
    landings_at_a_time: int = 1
    stall_after: float | None = None
    on_changed_input: OnChangedInput = "fail"
    if_finished: IfFinished = "reuse"
    on_unknown_submission: OnUnknownSubmission = "fail"
    delete_remote_files: bool = True
    keep_run_files: bool = False

    def __post_init__(self) -> None:
        check_metadata(self.metadata)
        check_words(
            on_changed_input=(self.on_changed_input, OnChangedInput),
            if_finished=(self.if_finished, IfFinished),
            on_unknown_submission=(self.on_unknown_submission, OnUnknownSubmission),
        )
        for name, value in (("max_rounds", self.max_rounds), ("max_active_batches", self.max_active_batches)):
            if value is not None and value < 1:
                raise ConfigurationError(
                    f"`{name}` must be at least 1, not {value!r}: with less nothing would be sent."
                )
