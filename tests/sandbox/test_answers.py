from __future__ import annotations

from typing import Any

import pytest

from airflow_batch_provider.sandbox.answers import ENDPOINTS, Row, answer, sentiment


def body_of(endpoint: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    given = answer(endpoint, Row(4, "my-id", {"model": "any", **body}), now=1_700_000_000)
    assert given.status == status
    return given.body


def said(body: dict[str, Any]) -> str:
    return str(body_of("/v1/chat/completions", body)["choices"][0]["message"]["content"])


def user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_chat_repeats_the_last_user_message() -> None:
    """A chat answer has the shape of OpenAI's, and its usage counts a token for four characters."""
    messages = [
        {"role": "system", "content": "12345678"},
        {"role": "user", "content": "old!"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "new"}, {"type": "image_url"}, {"type": "text", "text": "!"}],
        },
    ]

    assert body_of("/v1/chat/completions", {"messages": messages}) == {
        "id": "chatcmpl-sandbox00000004",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "any",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "new!", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
        "system_fingerprint": "fp_sandbox",
    }


@pytest.mark.parametrize("given", ["hello", [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]])
def test_responses_have_their_own_shape(given: object) -> None:
    """The text is in output, the usage in input_tokens and output_tokens."""
    body = body_of("/v1/responses", {"input": given})

    assert body["output"][0]["content"] == [{"type": "output_text", "text": "hello", "annotations": []}]
    assert body["usage"] == {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4}


def test_completions_answer_each_prompt() -> None:
    """One choice per prompt."""
    body = body_of("/v1/completions", {"prompt": ["one", "two"]})

    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "one"), (1, "two")]


def test_embeddings_are_embeddings_whatever_the_model() -> None:
    """One vector per input, as long as asked for, and a usage without an output."""
    body = body_of("/v1/embeddings", {"input": ["a", "b"], "dimensions": 8})

    assert [len(item["embedding"]) for item in body["data"]] == [8, 8]
    assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_moderations_have_a_verdict() -> None:
    """Unfriendly texts are flagged."""
    results = body_of("/v1/moderations", {"input": ["I hate this", "fine"]})["results"]

    assert [result["flagged"] for result in results] == [True, False]


@pytest.mark.parametrize("endpoint", list(ENDPOINTS))
def test_empty_requests_are_refused(endpoint: str) -> None:
    """A row without content is an error row, in OpenAI's words."""
    assert "Missing required parameter" in body_of(endpoint, {}, 400)["error"]["message"]


def test_impossible_dimensions_are_refused() -> None:
    """A vector has at least one number."""
    assert body_of("/v1/embeddings", {"input": "a", "dimensions": 0}, 400)["error"]["param"] == "dimensions"


@pytest.mark.parametrize("status", [400, 429, 500, 418])
def test_rows_can_be_made_to_fail(status: int) -> None:
    """The model names the status."""
    body = body_of("/v1/chat/completions", {"model": f"sandbox-fail-{status}", **user("x")}, status)

    assert body["error"]["message"]


def test_templates_are_filled_once() -> None:
    """Text that looks like a field comes out as it went in."""
    model = "sandbox-template:{index}/{custom_id}: <{input}>"

    assert said({"model": model, **user("{index}")}) == "4/my-id: <{index}>"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("I love it, great!", "positive"),
        ("Terrible. Slow.", "negative"),
        ("It is a box.", "neutral"),
        ("good, bad", "neutral"),
    ],
)
def test_sentiment_counts_words(text: str, verdict: str) -> None:
    """More good words than bad ones is positive."""
    assert sentiment(text) == verdict
    assert said({"model": "sandbox-sentiment", **user(text)}) == verdict


def test_echo_is_exact() -> None:
    """Line separators and emoji come back as they are."""
    text = "a\u2028b\u0085c\r\n😀"

    assert said({"model": "sandbox-echo", **user(text)}) == text
