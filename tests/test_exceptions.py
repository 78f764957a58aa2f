from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from airflow_batch_provider import exceptions
from airflow_batch_provider.exceptions import ApiStatusError, BatchError, BatchFailedError, InputError, JobError

CLASSES = [kind for kind in vars(exceptions).values() if inspect.isclass(kind) and issubclass(kind, BatchError)]
ids = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)

FINAL = {
    "InputError", "ConfigurationError", "ApiStatusError", "AuthenticationError", "NotFoundError", "GatewayError", "JobError",
    "BatchFailedError", "BatchExpiredError", "BatchCancelledError", "RequestsFailedError", "PartialFailureError",
    "JournalError", "ForeignJournalError", "StaleJournalError", "SupersededError",
}  # fmt: skip


def drawn_tree() -> dict[str, str]:
    """Each class of the docstring's drawing with the class above it."""
    above: dict[str, str] = {}
    path: list[str] = []
    for text in (exceptions.__doc__ or "").splitlines():
        match = re.match(r"^    (?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+Error)\s{2,}", text)
        if match:
            depth = len(match["indent"]) // 4
            path[depth:] = [match["name"]]
            above[match["name"]] = path[depth - 1] if depth else ""
    return above


def test_the_drawing_is_the_tree() -> None:
    """The docstring names every class, under its parent, and no other."""
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES} | {"BatchError": ""}

    assert drawn_tree() == real


@ids
def test_a_message_is_enough(kind: type[BatchError]) -> None:
    """No exception has required arguments, so that all survive pickling and can be raised by hand."""
    error = kind("what happened")

    assert str(error) == "what happened"
    assert isinstance(error.retryable, bool)


@ids
def test_every_class_says_what_it_means(kind: type[BatchError]) -> None:
    """One sentence at least."""
    assert (kind.__doc__ or "").strip().split("\n")[0].endswith(".")


@ids
def test_what_a_retry_can_change_is_retryable(kind: type[BatchError]) -> None:
    """These fail the task at once; all others are worth Airflow's retries."""
    assert kind("x").retryable is (kind.__name__ not in FINAL)


def filled(kind: type[BatchError]) -> BatchError:
    """An exception with every argument given."""
    values = {
        "message": "what happened", "problems": [(1, "bad", "row-1", "url")], "never_sent": True, "status_code": 500,
        "code": "c", "request_id": "r", "retry_after": 1.5, "gateway_retries": True, "said": "no", "retryable": True,
        "batch_ids": ["b1", "b2"], "summary": {"requests": 3},
    }  # fmt: skip
    if "__init__" not in {name for base in kind.__mro__[:-4] for name in vars(base)}:
        return kind("what happened")
    return kind(**{name: values[name] for name in list(inspect.signature(kind).parameters)})


@ids
@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_all_survive_pickling(kind: type[BatchError], duplicate: object) -> None:
    """Airflow passes exceptions between processes: text and attributes arrive."""
    error = filled(kind)
    found = duplicate(error)  # type: ignore[operator]

    assert type(found) is kind
    assert str(found) == str(error) == "what happened"
    assert vars(found) == vars(error)
    assert found.args == error.args


def test_attributes_are_plain_values() -> None:
    """Lists become tuples, so that nobody changes an exception."""
    assert InputError("x", [(1, "bad", None, None)]).problems == ((1, "bad", None, None),)
    assert JobError("x", ["b1"]).batch_ids == ("b1",)
    assert BatchFailedError("x", ["b1"], retryable=True).retryable
    assert not BatchFailedError("x").retryable
    assert ApiStatusError("x", 404, "c", said="y").said == "y"


def test_input_and_configuration_errors_are_value_errors() -> None:
    """Who knows only Python catches them too."""
    assert issubclass(exceptions.InputError, ValueError)
    assert issubclass(exceptions.ConfigurationError, ValueError)
