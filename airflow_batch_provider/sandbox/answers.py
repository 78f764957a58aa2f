"""
The sandbox's "models": what a request is answered with, in the shape of its endpoint.

There is no model behind any of it. The answer is a function of the request, so that tests and benchmarks can say
what it must be. ``sandbox-echo`` and every name the sandbox does not know repeat the last user message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from airflow_batch_provider.sandbox.embeddings import (
    DEFAULT_DIMENSIONS,
    MAX_DIMENSIONS,
    embed,
    encode_vector,
    texts_of,
)
from airflow_batch_provider.sandbox.errors import ApiError, missing_parameter
from airflow_batch_provider.sandbox.inspection import failing_status

TEMPLATE_PREFIX = "sandbox-template:"
SENTIMENT_MODEL = "sandbox-sentiment"

POSITIVE = frozenset(
    "love loved loves great good excellent amazing best happy perfect fast recommend wonderful nice".split()
)
NEGATIVE = frozenset(
    "hate hated bad terrible awful worst broken slow sad poor refund disappointed late useless".split()
)

_WORDS = re.compile(r"[a-z']+")
_FIELDS = re.compile(r"\{(input|index|custom_id)\}")

ERROR_WORDS = {
    400: ("The request was refused by the sandbox.", "invalid_request_error", "invalid_request"),
    429: ("Rate limit reached in the sandbox.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", "server_error"),
}


class Row(msgspec.Struct, frozen=True):
    """One request of a batch: its place in the input, its id and its body."""

    index: int
    custom_id: str
    body: dict[str, Any]


class Answer(NamedTuple):
    """What goes into ``response``: the status code and the body."""

    status: int
    body: dict[str, Any]


def answer(endpoint: str, row: Row, *, now: int) -> Answer:
    """
    Answer one request.

    :param endpoint: Such as ``/v1/chat/completions``.
    :param row: The request.
    :param now: What the answer says about when it was made.
    """
    failing = failing_status(row.body["model"])
    if failing is not None:
        return refusal(failing)
    try:
        return Answer(200, ENDPOINTS[endpoint](row, now))
    except ApiError as error:
        return Answer(error.status, error.to_wire())


def refusal(status: int) -> Answer:
    """Return the error a row ends with when somebody asked for one."""
    message, kind, code = ERROR_WORDS.get(status, ERROR_WORDS[400 if status < 500 else 500])
    return Answer(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


def reply(row: Row, text: str) -> str:
    """Return what the request's model says to ``text``."""
    model = row.body["model"]
    if model == SENTIMENT_MODEL:
        return sentiment(text)
    if model.startswith(TEMPLATE_PREFIX):
        values = {"input": text, "index": str(row.index), "custom_id": row.custom_id}
        # One pass, so that a text that contains "{index}" comes out as it went in.
        return _FIELDS.sub(lambda field: values[field[1]], model.removeprefix(TEMPLATE_PREFIX))
    return text


def sentiment(text: str) -> str:
    """Return positive, negative or neutral, by counting a few words."""
    words = _WORDS.findall(text.lower())
    score = sum(word in POSITIVE for word in words) - sum(word in NEGATIVE for word in words)
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"


def tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return (len(text) + 3) // 4


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _last_user_text(messages: list[Any]) -> str:
    users = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    return text_of(users[-1].get("content")) if users else ""


def _all_text(messages: list[Any]) -> str:
    return "".join(text_of(message.get("content")) for message in messages if isinstance(message, dict))


def _ident(prefix: str, row: Row) -> str:
    return f"{prefix}-sandbox{row.index:08d}"


def _usage(sent: int, received: int) -> dict[str, int]:
    return {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}


def _chat(row: Row, now: int) -> dict[str, Any]:
    messages = row.body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise missing_parameter("messages")
    text = reply(row, _last_user_text(messages))
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": _ident("chatcmpl", row),
        "object": "chat.completion",
        "created": now,
        "model": row.body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(tokens(_all_text(messages)), tokens(text)),
        "system_fingerprint": "fp_sandbox",
    }


def _responses(row: Row, now: int) -> dict[str, Any]:
    given = row.body.get("input")
    if not isinstance(given, str | list) or not given:
        raise missing_parameter("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    text = reply(row, _last_user_text(messages))
    sent, received = tokens(_all_text(messages) + text_of(row.body.get("instructions"))), tokens(text)
    said = {"status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]}
    return {
        "id": _ident("resp", row),
        "object": "response",
        "created_at": now,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": row.body["model"],
        "output": [{"type": "message", "id": _ident("msg", row), "role": "assistant", **said}],
        "usage": {"input_tokens": sent, "output_tokens": received, "total_tokens": sent + received},
    }


def _completions(row: Row, now: int) -> dict[str, Any]:
    prompts = texts_of(row.body.get("prompt"))
    if not prompts:
        raise missing_parameter("prompt")
    texts = [reply(row, prompt) for prompt in prompts]
    return {
        "id": _ident("cmpl", row),
        "object": "text_completion",
        "created": now,
        "model": row.body["model"],
        "choices": [
            {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ],
        "usage": _usage(sum(map(tokens, prompts)), sum(map(tokens, texts))),
    }


def _embeddings(row: Row, _now: int) -> dict[str, Any]:
    texts = texts_of(row.body.get("input"))
    if not texts:
        raise missing_parameter("input")
    size = row.body.get("dimensions", DEFAULT_DIMENSIONS)
    if not isinstance(size, int) or not 1 <= size <= MAX_DIMENSIONS:
        raise ApiError(400, f"Invalid value for 'dimensions': {size!r}.", param="dimensions", code="invalid_value")
    vectors = [encode_vector(embed(text, size), row.body.get("encoding_format")) for text in texts]
    sent = sum(map(tokens, texts))
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)],
        "model": row.body["model"],
        "usage": {"prompt_tokens": sent, "total_tokens": sent},
    }


def _moderations(row: Row, _now: int) -> dict[str, Any]:
    texts = texts_of(row.body.get("input"))
    if not texts:
        raise missing_parameter("input")
    verdicts = [sentiment(text) == "negative" for text in texts]
    results = [
        {"flagged": bad, "categories": {"harassment": bad}, "category_scores": {"harassment": float(bad)}}
        for bad in verdicts
    ]
    return {"id": _ident("modr", row), "model": row.body["model"], "results": results}


ENDPOINTS: dict[str, Callable[[Row, int], dict[str, Any]]] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/completions": _completions,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderations,
}
"""The endpoints a batch may name."""
