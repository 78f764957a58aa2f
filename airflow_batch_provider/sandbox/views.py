"""A batch as OpenAI shows it."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_batch_provider.sandbox.orders import COMPLETION_WINDOW, Order
from airflow_batch_provider.sandbox.results import Results
from airflow_batch_provider.sandbox.timeline import Facts, Phase, Plan, expires_at

STAMPS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def batch_to_wire(batch_id: str, order: Order, plan: Plan, phase: Phase, results: Results | None) -> dict[str, Any]:
    """
    Return OpenAI's batch object.

    :param batch_id: The batch's id.
    :param order: What its creator asked for.
    :param plan: What decides its state.
    :param phase: Its state.
    :param results: Its result files, once they are written.
    """
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": order.endpoint,
        "errors": _errors(plan.facts) if phase.status == "failed" else None,
        "input_file_id": order.input_file_id,
        "completion_window": COMPLETION_WINDOW,
        "status": phase.status.upper() if order.directives.upper_status else phase.status,
        "output_file_id": results.output_file_id if results else None,
        "error_file_id": results.error_file_id if results else None,
        "created_at": int(plan.created_at),
        "expires_at": expires_at(plan),
        **{stamp: phase.stamps.get(stamp) for stamp in STAMPS},
        "request_counts": _counts(plan, phase, results),
        "metadata": order.metadata,
    }


def _errors(facts: Facts | None) -> dict[str, Any]:
    return {"object": "list", "data": [msgspec.structs.asdict(error) for error in facts.errors] if facts else []}


def _counts(plan: Plan, phase: Phase, results: Results | None) -> dict[str, int]:
    if plan.facts is None or not plan.is_runnable:
        return {"total": 0, "completed": 0, "failed": 0}
    if results is not None:
        return {"total": plan.facts.rows, "completed": results.completed, "failed": results.failed}
    done = plan.facts.rows * (1 - plan.directives.missing_rows) * phase.share
    failing = plan.facts.failing / max(plan.facts.rows, 1)
    failed = done * max(failing, plan.directives.fail_rows)
    return {"total": plan.facts.rows, "completed": int(done - failed), "failed": int(failed)}
