"""``BatchSensor``: waits for batches that something else created."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, PokeReturnValue, conf

from airflow_batch_provider.core.judging import FailOn, check_fail_on, judge
from airflow_batch_provider.core.patience import WatchPolicy, as_seconds
from airflow_batch_provider.core.progress import ProgressReporter
from airflow_batch_provider.core.watching import Watch
from airflow_batch_provider.exceptions import ApiError, BatchTimeoutError, ConfigurationError
from airflow_batch_provider.hooks.batch import BatchHook, open_hook
from airflow_batch_provider.hooks.boundary import airflow_boundary
from airflow_batch_provider.links.batch import BatchLink, no_link_yet, store_link
from airflow_batch_provider.triggers.deferring import Wait, ended_well

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_batch_provider.core.batches import Batch


class BatchSensor(BaseSensorOperator):
    """
    Wait until batches have ended. Returns the batch as a dict, or a list of dicts for a list of ids.

    Works in the modes ``poke`` and ``reschedule``, and ``deferrable``: then one trigger waits for all batches, with
    pauses that grow from ``poke_interval`` to 5 minutes as the batches age. A service that does not answer for a while
    is waited out; the sensor's ``timeout`` ends the wait and leaves the batches running.

    :param batch_id: A batch, or a list of batches. Templated.
    :param fail_on: ``"all"`` fails when a batch did not complete or none of its requests succeeded, ``"any"`` also when
        single requests failed, ``"never"`` leaves the verdict to you.
    :param deferrable: Wait in the triggerer instead of on a worker.
    :param conn_id: Connection of type ``batch``. Templated.
    :raises BatchFailedError: The service refused a batch.
    :raises BatchExpiredError: A batch's completion window passed.
    :raises BatchCancelledError: A batch was cancelled.
    :raises RequestsFailedError: A batch completed, and requests in it failed.
    :raises AirflowSensorTimeout: The sensor's ``timeout`` passed.
    """

    template_fields: Sequence[str] = ("batch_id", "conn_id")
    operator_extra_links = (BatchLink(),)
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        batch_id: str | Sequence[str],
        fail_on: FailOn = "all",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        conn_id: str = BatchHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.fail_on = fail_on
        self.deferrable = deferrable
        self.conn_id = conn_id
        self._watch: Watch | None = None
        self._reporter: ProgressReporter | None = None

    def execute(self, context: Context) -> Any:
        """Look once; when the batches have not ended, wait as configured."""
        no_link_yet(self)
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            check_fail_on(self.fail_on)
            ids = self._ids()
            store_link(self, context, hook.get_conn().settings.console_url, ids[0])
            if self.deferrable:
                wait = self._wait_for(ids, time.time() + self._timeout_seconds())
                ended = wait.look(hook)
                if ended is None:
                    wait.defer(self)
                return self._finish(ended)
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the batches that have not ended yet."""
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            watch = self._watching()
            for batch_id in watch.open_ids():
                try:
                    watch.observe(hook.get_batch(batch_id), time.time())
                except ApiError as error:
                    if not error.retryable:
                        raise
                    self.log.warning("%s Waiting goes on.", error)
            if self._reporter and (line := self._reporter.next_line(time.time())):
                self.log.info(line)
            if watch.open_ids():
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._finish([watch.seen[i] for i in watch.batch_ids]))

    def execute_complete(self, context: Context, event: Any) -> Any:
        """Resume after the trigger fired."""
        with airflow_boundary(), open_hook(self.conn_id) as hook:
            read, error = ended_well(event)
            wait = self._wait_for(read.batch_ids, read.deadline_at)
            try:
                ended = wait.settle(hook, error)
            except BatchTimeoutError as timeout:
                raise AirflowSensorTimeout(str(timeout)) from timeout
            store_link(self, context, hook.get_conn().settings.console_url, read.batch_ids[0])
            if ended is None:
                wait.defer(self)
            return self._finish(ended)

    def _ids(self) -> tuple[str, ...]:
        ids = (self.batch_id,) if isinstance(self.batch_id, str) else tuple(self.batch_id or ())
        if not ids or not all(ids):
            raise ConfigurationError("`batch_id` is empty. Did the task that creates the batch run?")
        return ids

    def _watching(self) -> Watch:
        if self._watch is None:
            now = time.time()
            policy = WatchPolicy(poll_interval=self._poke_seconds())
            self._watch = Watch(self._ids(), started_at=now, deadline_at=now + self._timeout_seconds(), policy=policy)
            self._reporter = ProgressReporter(self._watch)
        return self._watch

    def _wait_for(self, ids: tuple[str, ...], deadline_at: float) -> Wait:
        # The sensor did not create the batches, so it never cancels them.
        return Wait(self.conn_id, ids, deadline_at, self._poke_seconds(), cancel_on_kill=False)

    def _poke_seconds(self) -> float:
        return as_seconds(self.poke_interval)

    def _timeout_seconds(self) -> float:
        return as_seconds(self.timeout)

    def _finish(self, batches: list[Batch]) -> Any:
        if error := judge(batches, self.fail_on):
            raise error
        found = [batch.to_dict() for batch in batches]
        return found[0] if isinstance(self.batch_id, str) else found
