from __future__ import annotations

import re

from airflow_batch_provider.sandbox.ids import Ids


def test_ids_look_like_openais() -> None:
    """File ids have 24 letters or digits, batch and request ids 32 hex digits."""
    ids = Ids()

    assert re.fullmatch(r"file-[A-Za-z0-9]{24}", ids.file())
    assert re.fullmatch(r"batch_[0-9a-f]{32}", ids.batch())
    assert re.fullmatch(r"req_[0-9a-f]{32}", ids.request())


def test_a_seed_repeats_the_ids() -> None:
    """The same seed gives the same ids, no seed gives others."""
    assert Ids(3).batch() == Ids(3).batch()
    assert Ids().batch() != Ids().batch()
