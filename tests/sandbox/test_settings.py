from __future__ import annotations

import pytest

from airflow_batch_provider.sandbox.settings import Durations, Settings
from tests.sandbox.support import FakeClock


@pytest.mark.parametrize(("rows", "seconds"), [(0, 2.0), (500, 3.0), (5_000, 12.0), (50_000, 20.0)])
def test_running_time_grows_with_the_rows(rows: int, seconds: float) -> None:
    """Two seconds, and one for every 500 rows, and never more than twenty."""
    assert Durations().running(rows) == seconds


def test_time_scale_speeds_everything_up_but_the_window() -> None:
    """Ten times faster is a tenth of each time; 24 hours remain 24 hours."""
    fast = Settings(time_scale=10).effective_durations

    assert (fast.validating, fast.finalizing, fast.running(5_000), fast.window) == (0.2, 0.1, 1.2, 86_400)


def test_a_clock_of_ones_own_means_patience() -> None:
    """With a fake clock an answer waits for the work that is due, with the real one it does not wait long."""
    assert Settings().effective_patience == 0.5
    assert Settings(clock=FakeClock()).effective_patience == 60
    assert Settings(patience=2).effective_patience == 2
