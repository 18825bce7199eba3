"""Token buckets: so many a minute, by an argument's clock, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import UnavailableError
from cloister.keyservice.buckets import TokenBuckets


def taken(buckets: TokenBuckets, name: str, *, per_minute: int, uptime: float) -> bool:
    """Whether there was a token."""
    try:
        buckets.take(name, per_minute=per_minute, uptime=uptime)
    except UnavailableError as e:
        return e.code != "keyservice.busy"
    return True


@pytest.mark.spec("PA-54")
def test_a_minutes_tokens_are_there_at_once_and_come_back_evenly() -> None:
    """Sixty, then one each second; others are not touched."""
    buckets = TokenBuckets()
    assert all(taken(buckets, "a", per_minute=60, uptime=5.0) for _ in range(60))
    assert not taken(buckets, "a", per_minute=60, uptime=5.5)
    assert taken(buckets, "b", per_minute=60, uptime=5.5)
    assert taken(buckets, "a", per_minute=60, uptime=6.5)
    assert not taken(buckets, "a", per_minute=60, uptime=6.5)
    assert not taken(buckets, "a", per_minute=60, uptime=1.0)


@pytest.mark.spec("PA-54")
def test_memory_is_bounded() -> None:
    """The one longest unused is forgotten, and full again."""
    buckets = TokenBuckets(capacity=2)
    for name in ("a", "b", "c"):
        assert taken(buckets, name, per_minute=1, uptime=0.0)
    assert len(buckets._buckets) == 2
    assert not taken(buckets, "b", per_minute=1, uptime=0.0)
    assert taken(buckets, "a", per_minute=1, uptime=0.0)


@pytest.mark.spec("PA-54")
@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 120))
def test_no_window_gives_more_than_a_bucket_and_what_came_back(
    steps: list[float], rate: int
) -> None:
    """However requests are spaced."""
    buckets, uptime, count = TokenBuckets(), 0.0, 0
    for step in steps:
        uptime += step
        count += taken(buckets, "a", per_minute=rate, uptime=uptime)
    assert count <= rate + uptime * rate / 60 + 1e-6
