"""How rows begin: with the request they answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_encode, _encode_lines = msgspec.json.encode, msgspec.json.Encoder().encode_lines
_NAMES_BYTES = len('{"index":,"custom_id":')


class _Head(msgspec.Struct, gc=False):
    index: int
    custom_id: str


def heads(indices: Sequence[int], custom_ids: Sequence[str]) -> list[bytes]:
    """
    Write the heads of rows; each goes on with a comma.

    :param indices: Positions of their requests in the input.
    :param custom_ids: Their requests.
    """
    return _encode_lines(list(map(_Head, indices, custom_ids))).split(b"}\n")[:-1]


def count_bytes(indices: Sequence[int], custom_ids: Sequence[str]) -> int:
    """
    Say how many bytes heads would have; as a list, what is in them is as long but for brackets and commas.

    :param indices: Positions of their requests in the input; at least one.
    :param custom_ids: Their requests.
    """
    values = len(_encode(list(indices))) + len(_encode(custom_ids)) - 2 * (len(indices) + 1)
    return len(indices) * _NAMES_BYTES + values
