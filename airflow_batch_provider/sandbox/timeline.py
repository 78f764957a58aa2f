"""
Where a batch stands at a given time: a pure function of its plan and ``now``.

Nothing in the sandbox moves a batch forward. A batch is its plan; whoever asks computes its state, so ten thousand
waiting batches cost nothing and a test with a clock of its own is exact. Two steps need work on files, reading the
input and writing the results: :func:`work_due` names the one that is due, and until it is done
:func:`visible_time` holds the batch at the last moment before.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec

from airflow_batch_provider.sandbox.directives import Directives
from airflow_batch_provider.sandbox.settings import Durations

Work = Literal["inspect", "produce"]

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class RowError(msgspec.Struct, frozen=True):
    """One finding of the validation, shaped like an item of a batch's ``errors.data``."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What reading the input told.

    :param rows: How many requests it has.
    :param failing: How many of them name a model that always answers with an error.
    :param errors: Why the batch cannot run; empty when it can.
    """

    rows: int = 0
    failing: int = 0
    errors: tuple[RowError, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that decides what a batch looks like at a given time.

    :param created_at: Epoch seconds.
    :param durations: How long each state lasts, ``time_scale`` included.
    :param directives: What the batch's metadata asked for.
    :param run_seconds: How long it runs, when the directives say so, ``time_scale`` included.
    :param cancel_at: When somebody asked to cancel it.
    :param facts: What its input told; None while nobody has read it.
    """

    created_at: float
    durations: Durations
    directives: Directives
    run_seconds: float | None = None
    cancel_at: float | None = None
    facts: Facts | None = None

    @property
    def validated_at(self) -> float:
        """When validation ends."""
        return self.created_at + self.durations.validating

    @property
    def is_runnable(self) -> bool:
        """True when the input was read and found good."""
        return self.facts is not None and not self.facts.errors


class Step(NamedTuple):
    """From ``at`` on the batch is in ``status``."""

    at: float
    status: str


class Phase(NamedTuple):
    """
    A batch at one moment.

    :param status: OpenAI's word for it.
    :param stamps: The ``..._at`` fields reached so far, in whole seconds.
    :param share: The share of the rows that are done, 0 to 1.
    """

    status: str
    stamps: dict[str, int]
    share: float


def phase_at(plan: Plan, now: float) -> Phase:
    """Return what the batch looks like at ``now``."""
    reached = [step for step in steps(plan) if step.at <= now]
    status = reached[-1].status if reached else "validating"
    return Phase(status, {f"{step.status}_at": int(step.at) for step in reached}, _share_at(plan, now))


def steps(plan: Plan) -> list[Step]:
    """Return the steps the batch takes, as far as they are known, in order of time."""
    planned = _planned_steps(plan)
    if plan.cancel_at is None:
        return planned
    before = [step for step in planned if step.at <= plan.cancel_at]
    if before and before[-1].status in TERMINAL:
        return before
    return [*before, Step(plan.cancel_at, "cancelling"), Step(plan.cancel_at + plan.durations.cancelling, "cancelled")]


def _planned_steps(plan: Plan) -> list[Step]:
    outcome = plan.directives.planned_outcome
    if plan.facts is None:
        return []
    if plan.facts.errors or outcome == "failed":
        return [Step(plan.validated_at, "failed")]
    started = Step(plan.validated_at, "in_progress")
    if plan.directives.stall:
        return [started]
    end = plan.validated_at + _run_seconds(plan)
    if outcome == "cancelled":
        return [started, Step(end, "cancelling"), Step(end + plan.durations.cancelling, "cancelled")]
    return [started, Step(end, "finalizing"), Step(end + plan.durations.finalizing, outcome)]


def _run_seconds(plan: Plan) -> float:
    if plan.run_seconds is not None:
        return plan.run_seconds
    return plan.durations.running(plan.facts.rows if plan.facts else 0)


def _share_at(plan: Plan, now: float) -> float:
    if not plan.is_runnable:
        return 0.0
    until = now if plan.cancel_at is None else min(now, plan.cancel_at)
    run_seconds = _run_seconds(plan)
    passed = until - plan.validated_at
    if passed < 0:
        return 0.0
    elapsed = passed / run_seconds if passed < run_seconds else 1.0
    return elapsed * plan.directives.planned_share


def ends_at(plan: Plan) -> float:
    """Return when the batch reaches its end; infinity when that is not known or never happens."""
    return next((step.at for step in steps(plan) if step.status in TERMINAL), math.inf)


def expires_at(plan: Plan) -> int:
    """Return ``expires_at``: the end of the window, or the moment the directives let the batch expire."""
    if plan.is_runnable and plan.directives.planned_outcome == "expired" and plan.cancel_at is None:
        return int(min(ends_at(plan), plan.created_at + plan.durations.window))
    return int(plan.created_at + plan.durations.window)


def work_due(plan: Plan, now: float, *, is_produced: bool) -> Work | None:
    """
    Return the work on files that has to happen before the batch may look as it should at ``now``.

    :param plan: The batch.
    :param now: Epoch seconds.
    :param is_produced: True when its result files exist already.
    """
    if plan.facts is None:
        cancelled_before = plan.cancel_at is not None and plan.cancel_at < plan.validated_at
        return None if now < plan.validated_at or cancelled_before else "inspect"
    if is_produced or not plan.is_runnable or phase_at(plan, now).status not in ("completed", "expired", "cancelled"):
        return None
    return "produce"


def visible_time(plan: Plan, now: float, *, is_produced: bool) -> float:
    """Return ``now``, or the last moment before a step whose work is not done yet."""
    work = work_due(plan, now, is_produced=is_produced)
    if work is None:
        return now
    return math.nextafter(plan.validated_at if work == "inspect" else ends_at(plan), -math.inf)
