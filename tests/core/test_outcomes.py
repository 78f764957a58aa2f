"""One result line -> what became of a request, in every dialect that was seen on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_batch_provider.core.outcomes import (
    Answer,
    Outcome,
    encode_tail,
    ended_answer,
    missing_answer,
    read_answer,
    refused_answer,
)


def read(row: Any) -> Answer:
    return read_answer(json.dumps(row).encode())


def answered(status: Any = 200, body: Any = None, error: Any = None) -> Answer:
    return read({"custom_id": "a", "response": {"status_code": status, "body": body}, "error": error})


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        pytest.param({"prompt_tokens": 3, "completion_tokens": 2}, (3, 2), id="chat"),
        pytest.param({"input_tokens": 3, "output_tokens": 2}, (3, 2), id="responses"),
        pytest.param({"prompt_tokens": 3, "total_tokens": 3}, (3, 0), id="embeddings"),
        pytest.param({"prompt_tokens": "3", "completion_tokens": 2.0}, (3, 2), id="odd-numbers"),
        pytest.param({"prompt_tokens": None, "completion_tokens": True}, (0, 0), id="no-numbers"),
        pytest.param("none", (0, 0), id="text"),
        pytest.param(None, (0, 0), id="null"),
    ],
)
@pytest.mark.parametrize("is_text", [pytest.param(False, id="object"), pytest.param(True, id="string")])
def test_tokens_are_counted_in_every_spelling(usage: Any, tokens: tuple[int, int], is_text: bool) -> None:
    """Usage is read whatever its field names, and what is no number counts as nothing; the answer is kept."""
    body: Any = {"usage": usage, "model": "m"}
    found = answered(body=json.dumps(body) if is_text else body)

    assert (found.outcome, found.model, found.input_tokens, found.output_tokens) == ("succeeded", "m", *tokens)
    assert json.loads(found.response) == body


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [
        *(pytest.param(status, None, True, id=str(status)) for status in (408, 409, 425, 429, 500, 503, "500")),
        *(pytest.param(status, None, False, id=str(status)) for status in (400, 401, 404, 413, 422)),
        pytest.param(400, "rate_limit_exceeded", True, id="400-with-passing-code"),
        pytest.param(400, "context_length_exceeded", False, id="400-with-final-code"),
    ],
)
def test_failures_that_pass_go_again(status: Any, code: str | None, is_retryable: bool) -> None:
    """The status or the code decides whether a failure may end better the next time."""
    found = answered(status, {"error": {"code": code, "message": "no"}})

    assert (found.outcome, found.is_retryable) == (Outcome.FAILED, is_retryable)
    assert found.reason == f"{status} {code}".removesuffix(" None")
    assert json.loads(found.error)["message"] == "no"


@pytest.mark.parametrize(
    ("error", "is_retryable"),
    [
        pytest.param({"type": "request_failed", "message": "500: busy"}, True, id="ogx-says-only-failed"),
        pytest.param("something", True, id="text"),
        pytest.param({"code": "invalid_request"}, False, id="code"),
        pytest.param({"type": "server_error"}, True, id="type-instead-of-code"),
        pytest.param(None, True, id="nothing"),
    ],
)
def test_an_error_row_without_a_response_is_a_failure(error: Any, is_retryable: bool) -> None:
    """Without status and code nobody knows, so it goes again."""
    for row in ({"custom_id": "a", "error": error}, {"custom_id": "a", "error": error, "response": None}):
        found = read(row)
        assert (found.custom_id, found.outcome, found.is_retryable) == ("a", Outcome.FAILED, is_retryable)
        assert json.loads(found.error)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        pytest.param("batch_expired", Outcome.EXPIRED, id="expired"),
        pytest.param("batch_cancelled", Outcome.CANCELLED, id="cancelled"),
    ],
)
def test_rows_a_batch_did_not_get_to_are_told_apart(code: str, outcome: Outcome) -> None:
    """Expired and cancelled requests were never run: they go again."""
    found = read({"custom_id": "a", "response": None, "error": {"code": code, "message": "."}})

    assert (found.outcome, found.is_retryable, found.reason) == (outcome, True, outcome.value)


def test_an_error_beside_a_good_status_is_a_failure() -> None:
    """A service that says 200 and names an error did not answer."""
    assert answered(200, {"text": "x"}, {"code": "bad"}).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("error", "is_retryable", "reason"),
    [
        pytest.param({"code": "server_error"}, True, "200 server_error", id="passing-code"),
        pytest.param({"code": "invalid_prompt"}, False, "200 invalid_prompt", id="final-code"),
        pytest.param({"code": 429}, True, "200 429", id="passing-status-as-code"),
        pytest.param({"code": "503"}, True, "200 503", id="passing-status-as-text"),
        pytest.param({"code": 400}, False, "200 400", id="final-status-as-code"),
        pytest.param({"message": "boom"}, True, "200", id="no-code"),
        pytest.param("boom", True, "200", id="text"),
    ],
)
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param({}, id="error-alone"),
        pytest.param({"object": "response", "status": "failed", "model": "m", "usage": None}, id="responses-api"),
        pytest.param({"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 0}}, id="with-usage"),
    ],
)
def test_an_error_inside_a_good_answer_is_a_failure(
    error: Any, is_retryable: bool, reason: str, rest: dict[str, Any]
) -> None:
    """Services report failures with status 200 too: the status says nothing of them, so the code alone decides."""
    body = {**rest, "error": error}
    found = answered(200, body)

    assert (found.outcome, found.is_retryable, found.reason) == (Outcome.FAILED, is_retryable, reason)
    assert json.loads(found.error) == error
    assert json.loads(found.response) == body


def test_an_answer_whose_error_is_null_is_a_success() -> None:
    """So the Responses API says that there was none."""
    assert answered(200, {"status": "completed", "error": None, "usage": {}}).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b'{"custom_id": 5}', id="number-as-id"),
        pytest.param(b"\xff", id="not-utf8"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_a_line_that_cannot_be_read_belongs_to_nobody(line: bytes) -> None:
    """Damage is never taken for an answer of some request."""
    assert read_answer(line).custom_id is None


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(b'{"score": NaN}', {"score": None}, id="nan"),
        pytest.param(b'{"score": -Infinity}', {"score": None}, id="infinity"),
        pytest.param(b'{"score": 1e999}', {"score": None}, id="too-large"),
        pytest.param(b'{"text": "\\ud800"}', {"text": "\ud800"}, id="half-a-surrogate-pair"),
    ],
)
def test_an_answer_that_is_hardly_json_is_kept_as_json(body: bytes, kept: Any) -> None:
    """Such answers are paid for: what JSON cannot hold becomes null, half a surrogate pair stays an escape."""
    found = read_answer(b'{"custom_id": "a", "response": {"status_code": 200, "body": %b}}' % body)

    # A plain number out of range is passed through as it was written, which is JSON.
    assert found.outcome is Outcome.SUCCEEDED
    assert found.response == body or json.loads(found.response, parse_constant=pytest.fail) == kept


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(missing_answer("a"), id="missing"),
        pytest.param(refused_answer("a", "invalid_model", 'the "m" of \u2028 you'), id="refused"),
        pytest.param(ended_answer("a", Outcome.EXPIRED), id="expired"),
        pytest.param(read_answer(b'{"custom_id": "a", "error": {"code": "\\ud800"}}'), id="odd"),
    ],
)
def test_every_answer_makes_a_row_of_json(answer: Answer) -> None:
    """Rows that no service wrote are as whole as the others, and say why."""
    row = json.loads(b'{"index":7' + encode_tail(answer, 1, b'"batch_1"'))

    assert (row["index"], row["outcome"], row["round"], row["batch_id"]) == (7, answer.outcome, 1, "batch_1")
    assert row["error"]["code"]
    assert row["usage"] is None


SECRET = "Dear Ms Doe, your test result"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param({"detail": SECRET}, id="object"),
        pytest.param([SECRET], id="list"),
        pytest.param("x" * 65, id="long"),
        pytest.param(f"{SECRET}\n", id="line-break"),
        pytest.param("\u00e9", id="letters-of-no-code"),
        pytest.param("\ud800", id="half-a-surrogate-pair"),
        pytest.param(10**70, id="long-number"),
        pytest.param(True, id="truth"),
        pytest.param(0, id="zero"),
    ],
)
def test_what_is_no_code_never_gets_into_a_reason(code: Any) -> None:
    """Reasons go into the journal, the log and XCom: only a short plain code does, the rest stays in the row."""
    found = answered(400, {"error": {"code": code}})

    assert (found.reason, found.is_retryable) == ("400", False)
    assert json.loads(found.error) == {"code": code}
    assert answered(400, {"error": {"code": code, "type": "bad_request"}}).reason == "400 bad_request"


def test_an_absurd_status_never_gets_into_a_reason() -> None:
    """It has as many digits as the service likes."""
    assert answered(10**1000, {"error": {"code": "bad"}}).reason == "bad"
    assert answered(10**1000, {"text": "x"}).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("code", "reason"),
    [("invalid_model", "invalid_model"), (f"{SECRET} (Ms Doe)", "batch_failed"), ("", "batch_failed")],
)
def test_the_code_of_a_refused_batch_is_a_reason_when_it_is_one(code: str, reason: str) -> None:
    """As with rows; what the service said stays in the row."""
    found = refused_answer("a", code, "no")

    assert found.reason == reason
    assert json.loads(found.error)["code"] == code


@pytest.mark.parametrize("model", ["m\ud83d", "\ud800", "m\u00e9\u2028"])
def test_any_model_makes_a_row(model: str) -> None:
    """An answer is paid for, whatever its model is called; half a surrogate pair stays an escape."""
    answer = Answer("a", Outcome.SUCCEEDED, False, b"{}", b"null", 1, 1, model, "")
    row = json.loads(b'{"index":7' + encode_tail(answer, 0, b'"batch_1"'))

    assert row["model"] == model


def test_a_refused_batch_does_not_go_again() -> None:
    """What the service refused as a whole it would refuse again; unreported and unfinished requests go again."""
    assert not refused_answer("a", "invalid_model", "no").is_retryable
    assert missing_answer("a").is_retryable
    assert ended_answer("a", Outcome.CANCELLED).is_retryable
