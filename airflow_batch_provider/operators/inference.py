"""``BatchInferenceOperator``: the whole run in one task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_batch_provider.core.events import WaitEvent
from airflow_batch_provider.core.patience import DEFAULT_POLL_SECONDS, WatchPolicy, as_seconds
from airflow_batch_provider.core.summary import counted
from airflow_batch_provider.core.verdict import check_fail_on_share, verdict
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.exceptions import BatchTimeoutError
from airflow_batch_provider.hooks.batch import BatchHook, open_hook
from airflow_batch_provider.hooks.boundary import airflow_boundary
from airflow_batch_provider.hooks.killed import cancel_if_killed
from airflow_batch_provider.hooks.memory import identity_of
from airflow_batch_provider.links.batch import BatchLink, no_link_yet, store_link
from airflow_batch_provider.triggers.deferring import BACKSTOP_SECONDS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_batch_provider.core.options import OnUnknownSubmission
    from airflow_batch_provider.runner import BatchRun, Waiting


UPLOADS_AT_A_TIME = 3
LANDINGS_AT_A_TIME = 2
# A deferred run is woken for what has ended, but not for every single batch: so long it waits for others to end too.
LAND_AFTER_SECONDS = 600.0
# Deferring and resuming takes Airflow seconds; a shorter wait without any batch is sat out here.
MIN_DEFER_SECONDS = 30.0


class BatchInferenceOperator(BaseOperator):
    """
    Send every request of an input through batches and bring every row back: in input order, paid once.

    Plans, splits, uploads, creates, waits, lands, sends again what failed for a passing reason, joins and tidies up. A
    retry, a clear or a lost worker goes on where the run was. Returns the summary. Under ``output``:
    ``results.jsonl`` (one row per request), ``failures.jsonl`` (requests that never succeeded, ready to be an input
    again) and ``summary.json``.

    :param input: JSON lines: a file (also ``.gz``), a folder or a glob; local path or object storage URL. Templated.
    :param output: Folder of this run alone: local path or object storage URL. Templated.
    :param endpoint: Endpoint all requests must be for; None lets lines differ, which makes shards of each. Templated.
    :param metadata: Your own pairs of strings for each batch, up to 11. Templated.
    :param completion_window: How long the service may take; most know only ``24h``. Templated.
    :param max_rounds: Passes over what is open, the first included. Only open requests go again.
    :param max_active_batches: Batches at a time, or None for no limit of our own.
    :param limits: Smaller batches than the connection's profile allows: any of ``max_requests``, ``max_bytes``,
        ``max_tokens``, ``one_model``.
    :param timeout: How long one try waits.
    :param stall_after: A batch that does not move for so long is cancelled and its open requests go again; None: never.
    :param fail_on: After everything is written: ``"any"`` row that did not succeed fails the task, ``"all"``: only when
        none succeeded, ``"never"``, or a share such as 0.01: when more than that did not succeed.
    :param on_changed_input: When the input changed since an earlier try planned it: ``"fail"``, or ``"restart"``.
    :param if_finished: When an earlier try finished: ``"reuse"`` its results without a call, or ``"restart"``.
    :param on_unknown_submission: When the service cannot say whether a batch was created: ``"fail"`` or ``"resubmit"``.
    :param delete_remote_files: Delete the run's files at the service at the end.
    :param keep_run_files: Keep shards and landed rows under ``_run/``.
    :param deferrable: Wait in the triggerer instead of on a worker.
    :param poll_interval: Shortest pause between looks, in seconds. Pauses grow with the batches' age.
    :param cancel_on_kill: Cancel the run's batches when the task is marked failed while it waits.
    :param conn_id: Connection of type ``batch``. Templated.
    :raises InputError: The input has problems, named with line and field; nothing was sent.
    :raises PartialFailureError: Rows did not succeed (see ``fail_on``); all rows are written.
    :raises JournalError: The saved progress in ``output`` does not fit this task or input.
    """

    template_fields: Sequence[str] = ("input", "output_path", "endpoint", "metadata", "completion_window", "conn_id")
    operator_extra_links = (BatchLink(),)
    ui_color: ClassVar[str] = "#d3e5f9"

    def __init__(
        self,
        *,
        input: str,  # noqa: A002 - the word users expect
        output: str,
        endpoint: str | None = None,
        metadata: Mapping[str, str] | None = None,
        completion_window: str = "24h",
        max_rounds: int = 2,
        max_active_batches: int | None = None,
        limits: Mapping[str, int] | None = None,
        timeout: timedelta | float = timedelta(hours=26),
        stall_after: timedelta | float | None = timedelta(hours=12),
        fail_on: Literal["any", "all", "never"] | float = "any",
        on_changed_input: Literal["fail", "restart"] = "fail",
        if_finished: Literal["reuse", "restart"] = "reuse",
        on_unknown_submission: OnUnknownSubmission = "fail",
        delete_remote_files: bool = True,
        keep_run_files: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = DEFAULT_POLL_SECONDS,
        cancel_on_kill: bool = True,
        conn_id: str = BatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input = input
        self.output_path = output  # `output` is an attribute of every operator: its XCom
        self.endpoint = endpoint
        self.metadata = metadata
        self.completion_window = completion_window
        self.max_rounds = max_rounds
        self.max_active_batches = max_active_batches
        self.limits = limits
        self.timeout = timeout
        self.stall_after = stall_after
        self.fail_on = fail_on
        self.on_changed_input = on_changed_input
        self.if_finished = if_finished
        self.on_unknown_submission = on_unknown_submission
        self.delete_remote_files = delete_remote_files
        self.keep_run_files = keep_run_files
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.conn_id = conn_id
        self._waiting_for: tuple[Any, tuple[str, ...]] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Begin the run, or go on where an earlier try was."""
        no_link_yet(self)
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            check_fail_on_share(self.fail_on)
            deadline_at = time.time() + as_seconds(self.timeout)
            return self._go_on(hook, self._run(hook, context, is_new_attempt=True), deadline_at, context)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Resume after the trigger fired."""
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            read = WaitEvent.from_event(event)
            if read.outcome == "gave_up":
                _ask_once_more(hook, read)
            run = self._run(hook, context, is_new_attempt=False)
            return self._go_on(hook, run, run.saved_deadline, context)

    def on_kill(self) -> None:
        """Cancel the batches if a person marked the waiting task failed; a retry elsewhere still needs them."""
        if self._waiting_for is not None and self.cancel_on_kill:
            task_instance, batch_ids = self._waiting_for
            cancel_if_killed(self.conn_id, task_instance, batch_ids)

    def _go_on(self, hook: BatchHook, run: BatchRun, deadline_at: float, context: Context) -> dict[str, Any]:
        from airflow_batch_provider.runner import Finished

        run.set_deadline(deadline_at)
        while True:
            step = run.advance()
            if isinstance(step, Finished):
                self._link(hook, context, step.summary["batch_ids"])
                return self._judged(step.summary)
            if time.time() >= deadline_at:
                from airflow_batch_provider.waiting import timeout_error

                raise timeout_error(step.batch_ids, deadline_at, len(step.batch_ids), step.standing)
            self._waiting_for = (context["ti"], step.batch_ids)
            self._link(hook, context, step.batch_ids)
            wake_at = min(deadline_at, step.look_again_at or deadline_at)
            if self.deferrable and (step.batch_ids or wake_at - time.time() >= MIN_DEFER_SECONDS):
                self._defer(step, wake_at, deadline_at)
            self._wait_here(hook, run, step, wake_at)

    def _link(self, hook: BatchHook, context: Context, batch_ids: Sequence[str]) -> None:
        """One link for a run: to the first of the batches that are waited for, at the end to its first."""
        if batch_ids:
            store_link(self, context, hook.get_conn().settings.console_url, batch_ids[0])

    def _defer(self, step: Waiting, wake_at: float, deadline_at: float) -> None:
        from airflow_batch_provider.triggers.batch import BatchTrigger

        until = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(deadline_at))
        what = counted(len(step.batch_ids), "batch") if step.batch_ids else "a place in the service's queue"
        self.log.info("Waiting for %s; deadline %s. Nothing holds a worker meanwhile.", what, until)
        trigger = BatchTrigger(
            conn_id=self.conn_id,
            batch_ids=step.batch_ids,
            deadline_at=wake_at,
            poll_interval=self.poll_interval,
            cancel_on_kill=self.cancel_on_kill,
            any_after=0.0 if step.for_any else LAND_AFTER_SECONDS,
            standing=step.standing.to_dict(),
        )
        left = timedelta(seconds=max(0.0, wake_at - time.time()) + BACKSTOP_SECONDS)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=left)

    def _wait_here(self, hook: BatchHook, run: BatchRun, step: Waiting, wake_at: float) -> None:
        from airflow_batch_provider.waiting import wait_for_batches

        if not step.batch_ids:
            time.sleep(max(0.0, wake_at - time.time()))
            return
        policy = WatchPolicy(poll_interval=self.poll_interval)
        watch = Watch(
            step.batch_ids,
            started_at=time.time(),
            deadline_at=wake_at,
            policy=policy,
            any_after=0.0 if step.for_any else self.poll_interval,
        )
        with suppress(BatchTimeoutError):  # whether that was the task's own deadline is seen after the next look
            wait_for_batches(hook.get_conn(), watch, standing=step.standing, tell=run.tell)

    def _run(self, hook: BatchHook, context: Context, *, is_new_attempt: bool) -> BatchRun:
        from airflow_batch_provider.core.options import RunOptions
        from airflow_batch_provider.runner import BatchRun

        client = hook.get_conn()
        options = RunOptions(
            input=self.input,
            output=self.output_path,
            endpoint=self.endpoint,
            limits=client.settings.limits.overridden(self.limits or {}),
            completion_window=self.completion_window,
            metadata=self.metadata or {},
            max_rounds=self.max_rounds,
            max_active_batches=self.max_active_batches,
            uploads_at_a_time=UPLOADS_AT_A_TIME,
            landings_at_a_time=LANDINGS_AT_A_TIME,
            stall_after=None if self.stall_after is None else as_seconds(self.stall_after),
            on_changed_input=self.on_changed_input,
            if_finished=self.if_finished,
            on_unknown_submission=self.on_unknown_submission,
            delete_remote_files=self.delete_remote_files,
            keep_run_files=self.keep_run_files,
        )
        return BatchRun(
            client,
            options,
            owner=identity_of(context),
            attempt=str(context["ti"].try_number),
            is_new_attempt=is_new_attempt,
        )

    def _judged(self, summary: dict[str, Any]) -> dict[str, Any]:
        outcomes = summary["outcomes"]
        usage = summary["usage"]
        parts = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items() if number)
        self.log.info(
            "Done: %s requests, %s. %s input + %s output tokens. Results: %s",
            f"{summary['requests']:,}", parts, f"{usage['input_tokens']:,}", f"{usage['output_tokens']:,}",
            summary["results"],
        )  # fmt: skip
        if error := verdict(summary, self.fail_on):
            raise error
        return summary


def _ask_once_more(hook: BatchHook, read: WaitEvent) -> None:
    """A trigger's event is a hint: the service that could not be asked may answer again."""
    from airflow_batch_provider.waiting import gave_up_error

    try:
        for batch_id in read.open_ids:
            hook.get_batch(batch_id)
    except Exception:  # noqa: BLE001 - also Airflow's, when the connection is gone
        raise gave_up_error(read.open_ids, read.reason) from None
