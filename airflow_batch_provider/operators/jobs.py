"""Operators that start and stop batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_batch_provider.core.identity import metadata_with_key
from airflow_batch_provider.core.judging import FailOn, check_fail_on, judge
from airflow_batch_provider.core.patience import DEFAULT_POLL_SECONDS, WatchPolicy, as_seconds
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.exceptions import ApiStatusError, ConfigurationError
from airflow_batch_provider.hooks.batch import BatchHook, open_hook
from airflow_batch_provider.hooks.boundary import airflow_boundary
from airflow_batch_provider.hooks.killed import cancel_if_killed
from airflow_batch_provider.hooks.memory import identity_of, started_at, task_memory
from airflow_batch_provider.links.batch import BatchLink, no_link_yet, store_link
from airflow_batch_provider.triggers.deferring import Wait, ended_well

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_batch_provider.core.batches import Batch
    from airflow_batch_provider.core.options import OnUnknownSubmission

_OWN_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})


class CreateBatchOperator(BaseOperator):
    """
    Create a batch from an uploaded file, once. Returns the batch's id.

    A retry, or a clear, finds the batch that an earlier try made (in Airflow's task state store, else by its key among
    the service's batches) and takes it if it runs or completed. Only after a batch ended badly is a new one made.

    :param input_file_id: The uploaded file. Templated.
    :param endpoint: Endpoint of all requests in it, for example ``/v1/chat/completions``. Templated.
    :param completion_window: How long the service may take; most know only ``24h``. Templated.
    :param metadata: Your own pairs of strings, up to 11 (services take 16, the others find the batch again). Templated.
    :param extra_body: More fields of the create call, for example ``{"model": ...}`` for Bedrock. Templated.
    :param wait_for_completion: Wait until the batch has ended.
    :param deferrable: Wait in the triggerer instead of on a worker.
    :param poll_interval: Shortest pause between looks, in seconds. Pauses grow with the batch's age, up to 5 minutes.
    :param timeout: How long one try waits; the 24 hours most services promise, and slack.
    :param fail_on: When waiting: ``"all"`` fails the task when the batch did not complete or no request succeeded,
        ``"any"`` also when single requests failed, ``"never"`` leaves the verdict to you.
    :param on_unknown_submission: When the service cannot say whether an earlier try created its batch: ``"fail"``, or
        ``"resubmit"`` at the risk of paying twice.
    :param cancel_on_kill: Cancel the batch when the task is marked failed while it waits.
    :param conn_id: Connection of type ``batch``. Templated.
    """

    template_fields: Sequence[str] = (
        "input_file_id", "endpoint", "completion_window", "metadata", "extra_body", "conn_id",
    )  # fmt: skip
    operator_extra_links = (BatchLink(),)
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = DEFAULT_POLL_SECONDS,
        timeout: timedelta | float = timedelta(hours=26),
        fail_on: FailOn = "all",
        on_unknown_submission: OnUnknownSubmission = "fail",
        cancel_on_kill: bool = True,
        conn_id: str = BatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_file_id = input_file_id
        self.endpoint = endpoint
        self.completion_window = completion_window
        self.metadata = metadata
        self.extra_body = extra_body
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.fail_on = fail_on
        self.on_unknown_submission = on_unknown_submission
        self.cancel_on_kill = cancel_on_kill
        self.conn_id = conn_id
        self._running: tuple[Any, str] | None = None

    def execute(self, context: Context) -> str:
        """Create the batch or take that of an earlier try; wait if asked; return its id."""
        no_link_yet(self)
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            check_fail_on(self.fail_on)
            batch = self._submit(hook, context)
            store_link(self, context, hook.get_conn().settings.console_url, batch.id)
            if not self.wait_for_completion:
                return batch.id
            self._running = (context["ti"], batch.id)
            wait = self._wait_for(batch.id, time.time() + as_seconds(self.timeout))
            ended = wait.look(hook)
            if ended is None and self.deferrable:
                wait.defer(self)
            return self._finish(ended or self._wait_here(hook, wait), context)

    def execute_complete(self, context: Context, event: Any) -> str:
        """Resume after the trigger fired."""
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            read, error = ended_well(event)
            wait = self._wait_for(read.batch_ids[0], read.deadline_at)
            ended = wait.settle(hook, error)
            store_link(self, context, hook.get_conn().settings.console_url, read.batch_ids[0])
            if ended is None:
                wait.defer(self)
            return self._finish(ended, context)

    def on_kill(self) -> None:
        """Cancel the batch if a person marked the waiting task failed; a retry elsewhere still needs it."""
        if self._running is not None and self.cancel_on_kill:
            task_instance, batch_id = self._running
            cancel_if_killed(self.conn_id, task_instance, [batch_id])

    def _submit(self, hook: BatchHook, context: Context) -> Batch:
        from airflow_batch_provider.submission import Submission

        identity = identity_of(context)
        extra = dict(self.extra_body or {})
        if own := sorted(_OWN_FIELDS & extra.keys()):
            raise ConfigurationError(
                f"`extra_body` must not hold {', '.join(own)}: these have parameters of their own."
            )
        key = identity.key(self.input_file_id, self.endpoint, self.completion_window, extra)
        body = {
            "input_file_id": self.input_file_id,
            "endpoint": self.endpoint,
            "completion_window": self.completion_window,
            "metadata": metadata_with_key(self.metadata or {}, identity, key),
            **extra,
        }
        batch = Submission(
            client=hook.get_conn(),
            memory=task_memory(context),
            body=body,
            key=key,
            is_first_try=context["ti"].try_number <= 1,
            earliest=started_at(context),
            on_unknown=self.on_unknown_submission,
            clock=time.time,
        ).submit()
        self.log.info("Batch %s (%s) for %s.", batch.id, batch.status.value, identity)
        return batch

    def _wait_for(self, batch_id: str, deadline_at: float) -> Wait:
        return Wait(self.conn_id, (batch_id,), deadline_at, self.poll_interval, self.cancel_on_kill)

    def _wait_here(self, hook: BatchHook, wait: Wait) -> list[Batch]:
        from airflow_batch_provider.waiting import wait_for_batches

        policy = WatchPolicy(poll_interval=wait.poll_interval)
        watch = Watch(wait.batch_ids, started_at=time.time(), deadline_at=wait.deadline_at, policy=policy)
        return wait_for_batches(hook.get_conn(), watch)

    def _finish(self, batches: list[Batch], context: Context) -> str:
        (batch,) = batches
        context["ti"].xcom_push(key="batch", value=batch.to_dict())
        self.log.info("Batch %s ended: %s.", batch.id, batch.status.value)
        if error := judge(batches, self.fail_on):
            raise error
        return batch.id


class CancelBatchOperator(BaseOperator):
    """
    Cancel a batch; one that has ended is left as it is. Returns the batch as a dict.

    Cancelling takes the service some minutes; what was finished by then is kept and billed.

    :param batch_id: The batch. Templated.
    :param conn_id: Connection of type ``batch``. Templated.
    """

    template_fields: Sequence[str] = ("batch_id", "conn_id")
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(self, *, batch_id: str, conn_id: str = BatchHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel, return the batch."""
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            batch = hook.get_batch(self.batch_id)
            if batch.status.may_be_cancelled:
                try:
                    batch = hook.cancel_batch(self.batch_id)
                except ApiStatusError:
                    # Services refuse to cancel what ended in between, each with its own status code.
                    batch = hook.get_batch(self.batch_id)
                    if batch.status.may_be_cancelled:
                        raise
            self.log.info("Batch %s is %s.", batch.id, batch.status.value)
            return batch.to_dict()
