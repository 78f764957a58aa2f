"""One test per directive, as a client sees it."""

from __future__ import annotations

import pytest

from tests.sandbox.support import FakeClock, ShortClient, lines_of, rows


def test_outcome_failed(client: ShortClient) -> None:
    """outcome=failed fails a good batch."""
    batch = client.run(rows(1), "outcome=failed")

    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "sandbox_failed")


def test_outcome_cancelled(client: ShortClient) -> None:
    """outcome=cancelled lets the service cancel by itself, half way."""
    batch = client.run(rows(10), "outcome=cancelled")

    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 5)


def test_cancel_after(client: ShortClient) -> None:
    """cancel_after says how far it gets."""
    batch = client.run(rows(10), "cancel_after=0.2")

    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 2)


def test_fail_rows_and_fail_code(client: ShortClient) -> None:
    """fail_rows fills the error file, fail_code says with what."""
    batch = client.run(rows(10), "fail_rows=0.2 fail_code=429")

    assert [line["response"]["status_code"] for line in client.errors(batch)] == [429, 429]
    assert (batch["status"], len(client.output(batch))) == ("completed", 8)


def test_all_rows_failing(client: ShortClient) -> None:
    """Then there is no output file, only an error file."""
    batch = client.run(rows(3), "fail_rows=1")

    assert (batch["status"], batch["output_file_id"], len(client.errors(batch))) == ("completed", None, 3)


def test_missing_rows(client: ShortClient) -> None:
    """missing_rows leaves rows out, and the total says that they were there."""
    batch = client.run(rows(10), "missing_rows=0.1")

    assert batch["request_counts"] == {"total": 10, "completed": 9, "failed": 0}
    assert batch["error_file_id"] is None


def test_stall(client: ShortClient) -> None:
    """stall=true never ends by itself."""
    batch = client.run(rows(10), "stall=true")

    assert (batch["status"], batch["request_counts"]["completed"]) == ("in_progress", 5)
    assert client.cancel(batch["id"])["status"] == "cancelling"


def test_seconds(client: ShortClient, clock: FakeClock) -> None:
    """seconds is how long it runs."""
    batch_id = client.submit(rows(1), "seconds=50")
    clock.advance(51.9)
    assert client.batch(batch_id)["status"] == "in_progress"

    clock.advance(1.2)

    batch = client.batch(batch_id)
    assert (batch["status"], batch["finalizing_at"]) == ("completed", 1_700_000_052)


def test_queue_full(client: ShortClient) -> None:
    """queue_full=true is how OpenAI refuses a batch too many."""
    batch = client.run(rows(1), "queue_full=true")

    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "token_limit_exceeded")


def test_empty_error_id(client: ShortClient) -> None:
    """empty_error_id=true is an empty string for a clean batch, and a real id for another."""
    assert client.run(rows(1), "empty_error_id=true")["error_file_id"] == ""
    assert client.run(rows(1), "empty_error_id=true fail_rows=1")["error_file_id"].startswith("file-")


def test_zero_byte_error_file(client: ShortClient) -> None:
    """zero_byte_error_file=true is an error file with nothing in it."""
    batch = client.run(rows(1), "zero_byte_error_file=true")

    assert client.content(batch["error_file_id"]) == b""


def test_string_body(client: ShortClient) -> None:
    """string_body=true puts JSON into a string."""
    (line,) = client.output(client.run(rows(1), "string_body=true"))

    assert isinstance(line["response"]["body"], str)


def test_crlf(client: ShortClient) -> None:
    """crlf=true ends lines with CR LF."""
    content = client.content(client.run(rows(2), "crlf=true")["output_file_id"])

    assert content.count(b"\r\n") == 2
    assert len(lines_of(content)) == 2


@pytest.mark.parametrize("directives", ["", "content_type=text/plain"])
def test_content_type(client: ShortClient, directives: str) -> None:
    """content_type is what the results are served as, application/octet-stream otherwise."""
    batch = client.run(rows(1), directives)
    answer = client.http.get(f"/files/{batch['output_file_id']}/content")

    assert answer.headers["content-type"] == ("text/plain" if directives else "application/octet-stream")


def test_upper_status(client: ShortClient) -> None:
    """upper_status=true spells statuses in capitals."""
    assert client.run(rows(1), "upper_status=true")["status"] == "COMPLETED"
