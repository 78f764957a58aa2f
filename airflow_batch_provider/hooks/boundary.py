"""The edge between our exceptions and Airflow's: what a retry cannot change fails the task at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_batch_provider.exceptions import BatchError

_finals: dict[type[BatchError], type[BatchError]] = {}


@contextmanager
def airflow_boundary() -> Iterator[None]:
    """
    Let exceptions of this package out to Airflow.

    One that is not ``retryable`` becomes an ``AirflowFailException`` too, under its own name and with its own
    attributes: ``except BatchFailedError`` and Airflow's "fail without retrying" both work.
    """
    try:
        yield
    except BatchError as error:
        if error.retryable or isinstance(error, AirflowFailException):
            raise
        kind = type(error)
        if kind not in _finals:
            _finals[kind] = _final(kind)
        final = _finals[kind]
        raised = final.__new__(final, *error.args)
        raised.args = error.args
        raised.__dict__.update(error.__dict__)
        raise raised.with_traceback(error.__traceback__) from error.__cause__


def _final(kind: type[BatchError]) -> type[BatchError]:
    return type(kind.__name__, (kind, AirflowFailException), {"__module__": kind.__module__, "__doc__": kind.__doc__})
