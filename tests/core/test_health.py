"""Whether a service as a whole can be asked."""

from __future__ import annotations

from airflow_batch_provider.core.health import MAX_QUESTIONS_PER_SECOND, MIN_QUESTIONS_PER_SECOND, ServiceHealth
from airflow_batch_provider.exceptions import ApiConnectionError, RateLimitError
from tests.core.support import NOW

REFUSED = ApiConnectionError("refused", True)


def ill(health: ServiceHealth, error: Exception = REFUSED, *, jitter: float = 0.0) -> tuple[bool, float]:
    """Note a failure; return whether it is told, and the pause."""
    told = health.is_ill(error, NOW, shortest=5.0, jitter=jitter)  # type: ignore[arg-type]
    return told, health.not_before - NOW


def test_a_blip_is_not_told() -> None:
    """The second failure in a row is; a look without trouble begins anew."""
    health = ServiceHealth()

    assert [ill(health)[0] for _ in range(3)] == [False, True, True]
    assert health.is_well()
    assert not health.is_well()
    assert ill(health) == (False, 5.0)


def test_probes_grow_apart() -> None:
    """From the shortest pause to a minute, and not further."""
    health = ServiceHealth()

    assert [ill(health)[1] for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    for _ in range(10_000):
        assert ill(health)[1] == 60


def test_the_service_is_left_alone_as_long_as_it_wants() -> None:
    """Never sooner than its Retry-After, spread a little later; not for days; and a long pause is told at once."""
    assert ill(ServiceHealth(), RateLimitError("slow", 429, retry_after=7.0)) == (False, 7.0)
    told, pause = ill(ServiceHealth(), RateLimitError("slow", 429, retry_after=100.0), jitter=1.0)
    assert (told, round(pause)) == (True, 110)
    assert ill(ServiceHealth(), RateLimitError("slow", 429, retry_after=1e9)) == (True, 3_600.0)


def test_the_rate_follows_what_the_service_bears() -> None:
    """Halved by each look that meets a 429, down to one question a second, raised a tenth by each without trouble."""
    health = ServiceHealth()
    ill(health)
    assert health.rate == MAX_QUESTIONS_PER_SECOND
    health.is_well()
    ill(health, RateLimitError("slow", 429))
    assert health.rate == MAX_QUESTIONS_PER_SECOND / 2
    for _ in range(20):
        health.is_well()
        ill(health, RateLimitError("slow", 429))
    assert health.rate == MIN_QUESTIONS_PER_SECOND
    for _ in range(100):
        health.is_well()
    assert health.rate == MAX_QUESTIONS_PER_SECOND


def test_probes_do_not_slow_down_what_follows() -> None:
    """A storm of 429 for minutes is met with one question a minute; when it is over, the rate is half, and not a trickle."""
    health = ServiceHealth()
    for _ in range(20):
        ill(health, RateLimitError("slow", 429))
    assert health.rate == MAX_QUESTIONS_PER_SECOND / 2
