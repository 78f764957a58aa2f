"""The validation of a batch: its input file is read once and judged line by line, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airflow_batch_provider.sandbox.directives import Directives
from airflow_batch_provider.sandbox.lines import LineTooLongError, read_lines
from airflow_batch_provider.sandbox.settings import Limits
from airflow_batch_provider.sandbox.timeline import Facts, RowError

MAX_ERRORS = 50
"""More findings than this help nobody; the rest of the file is not read."""

MISSING_MODEL = "sandbox-missing-model"
FAILING_MODEL_PREFIX = "sandbox-fail-"
SANDBOX_PREFIX = "sandbox-"


class _Line(msgspec.Struct):
    """An input line; fields of any type, because it is for the validation to say what is wrong with them."""

    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


def failing_status(model: str) -> int | None:
    """Return the status a model of this name always answers with, if it is one of those that fail."""
    status = model.removeprefix(FAILING_MODEL_PREFIX)
    return int(status) if status != model and status.isascii() and status.isdigit() else None


class Inspector:
    """
    Judges lines one after the other.

    :param endpoint: The batch's endpoint, which every line has to name.
    """

    def __init__(self, endpoint: str) -> None:
        self.rows = 0
        self.failing = 0
        self.errors: list[RowError] = []
        self._endpoint = endpoint
        self._seen: set[str] = set()
        self._model: str | None = None

    def judge(self, number: int, raw: bytes) -> None:
        """Take note of one line."""
        self.rows += 1
        try:
            line = _decode_line(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._refuse(number, "invalid_json_line", "This line is not parseable as valid JSON.")
            return
        self._judge_custom_id(number, line.custom_id)
        self._judge_route(number, line)
        self._judge_body(number, line.body)

    def _refuse(self, number: int | None, code: str, message: str, param: str | None = None) -> None:
        self.errors.append(RowError(code, message, param, number))

    def _miss(self, number: int, param: str) -> None:
        self._refuse(number, "missing_required_parameter", f"Missing required parameter: '{param}'.", param)

    def _judge_custom_id(self, number: int, custom_id: Any) -> None:
        if custom_id is None or custom_id == "":
            self._miss(number, "custom_id")
        elif not isinstance(custom_id, str):
            self._refuse(number, "invalid_type", "Invalid type for 'custom_id': expected a string.", "custom_id")
        elif custom_id in self._seen:
            message = f"The custom_id '{custom_id}' for this request is a duplicate of another request."
            self._refuse(number, "duplicate_custom_id", message, "custom_id")
        else:
            self._seen.add(custom_id)

    def _judge_route(self, number: int, line: _Line) -> None:
        if line.method is None:
            self._miss(number, "method")
        elif line.method != "POST":
            self._refuse(number, "invalid_method", f"Invalid method: {line.method!r}. It must be 'POST'.", "method")
        if line.url is None:
            self._miss(number, "url")
        elif line.url != self._endpoint:
            message = f"The URL provided for this request does not match the batch endpoint '{self._endpoint}'."
            self._refuse(number, "url_mismatch", message, "url")

    def _judge_body(self, number: int, body: Any) -> None:
        if not isinstance(body, dict):
            self._miss(number, "body")
            return
        model = body.get("model")
        if not isinstance(model, str) or not model:
            self._miss(number, "body.model")
        elif model == MISSING_MODEL:
            message = f"The provided model '{model}' is not supported by the Batch API."
            self._refuse(number, "invalid_model", message, "body.model")
        elif model.startswith(SANDBOX_PREFIX):
            self.failing += failing_status(model) is not None
        else:
            self._judge_same_model(number, model)

    def _judge_same_model(self, number: int, model: str) -> None:
        # The sandbox's own names steer single rows, so they may be mixed; real ones may not, as with OpenAI.
        if self._model is None:
            self._model = model
        elif self._model != model:
            message = f"All requests of a batch must use one model; found '{model}' after '{self._model}'."
            self._refuse(number, "model_mismatch", message, "body.model")

    def refuse_file(self, code: str, message: str) -> None:
        """Take note of something that is wrong with the file as a whole."""
        self._refuse(None, code, message)

    def facts(self) -> Facts:
        """Return what was found."""
        return Facts(rows=self.rows, failing=self.failing, errors=tuple(self.errors))


def inspect(
    path: Path, *, endpoint: str, limits: Limits, directives: Directives, tick: Callable[[], None] = lambda: None
) -> Facts:
    """
    Read a batch's input and say whether it can run.

    :param path: The input file.
    :param endpoint: The batch's endpoint.
    :param limits: The sizes that are accepted.
    :param directives: What the batch's metadata asked for.
    :param tick: Called every few lines; it may raise to stop the work.
    """
    inspector = Inspector(endpoint)
    if directives.queue_full:
        inspector.refuse_file(
            "token_limit_exceeded",
            "Enqueued token limit reached for this model in organization org-sandbox. Limit: 2,000,000 enqueued "
            "tokens. Please try again once some in_progress batches have been completed.",
        )
    elif path.stat().st_size > limits.max_batch_bytes:
        inspector.refuse_file("file_too_large", f"The input file is larger than {limits.max_batch_bytes} bytes.")
    else:
        _judge_lines(inspector, path, limits, tick)
    if directives.planned_outcome == "failed" and not inspector.errors:
        inspector.refuse_file("sandbox_failed", "The batch's metadata asked the sandbox to let it fail.")
    return inspector.facts()


def _judge_lines(inspector: Inspector, path: Path, limits: Limits, tick: Callable[[], None]) -> None:
    try:
        for number, line in read_lines(path, max_bytes=limits.max_line_bytes, tick=tick):
            inspector.judge(number, line)
            if inspector.rows > limits.max_requests:
                inspector.errors.clear()
                message = f"The input file has more requests than the {limits.max_requests} a batch may have."
                inspector.refuse_file("too_many_tasks", message)
            if len(inspector.errors) >= MAX_ERRORS or inspector.rows > limits.max_requests:
                return
    except LineTooLongError as error:
        inspector.refuse_file("line_too_long", str(error))
        return
    if inspector.rows == 0:
        inspector.refuse_file("empty_file", "The input file is empty.")
