from __future__ import annotations

import base64
import math
from array import array

import pytest

from airflow_batch_provider.sandbox.embeddings import embed, encode_vector, texts_of


def test_equal_texts_have_equal_vectors() -> None:
    """The vector is a function of the text."""
    assert embed("a") == embed("a")
    assert embed("a") != embed("b")


@pytest.mark.parametrize("dimensions", [1, 16, 1536])
def test_vectors_have_length_one(dimensions: int) -> None:
    """As many numbers as asked for, and a norm of one."""
    vector = embed("text", dimensions)

    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


def test_vectors_can_be_base64() -> None:
    """base64 of 32 bit floats, as OpenAI's."""
    encoded = encode_vector([0.5, -1.0], "base64")

    assert array("f", base64.b64decode(encoded)).tolist() == [0.5, -1.0]
    assert encode_vector([0.5], None) == [0.5]


@pytest.mark.parametrize(
    ("value", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 0), (None, 0), ({}, 0)]
)
def test_inputs_have_many_forms(value: object, count: int) -> None:
    """A text, texts, tokens, lists of tokens."""
    assert len(texts_of(value)) == count
