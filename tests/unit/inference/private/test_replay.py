"""What was here before."""

import pytest

from cloister.errors import CloisterError, UnavailableError
from cloister.inference.private.replay import ReplayGuard


def nonce(number: int) -> bytes:
    return number.to_bytes(16, "big")


def code(guard: ReplayGuard, asker: str, number: int, *, time: int, at: int) -> str:
    try:
        guard.admit(asker, nonce(number), time=time, at=at)
    except CloisterError as e:
        return e.code
    return "admitted"


@pytest.mark.spec("PQ-40")
def test_each_nonce_of_an_asker_once() -> None:
    """Another asker may have drawn the same."""
    guard = ReplayGuard(window_s=60)
    assert code(guard, "alice", 1, time=1000, at=1000) == "admitted"
    assert code(guard, "alice", 1, time=1000, at=1030) == "private.replayed"
    assert code(guard, "alice", 2, time=1000, at=1030) == "admitted"
    assert code(guard, "bob", 1, time=1000, at=1030) == "admitted"


@pytest.mark.spec("PQ-41")
def test_time_counts_and_never_goes_back() -> None:
    """At the edges of the window, and with a clock that somebody sets."""
    guard = ReplayGuard(window_s=60)
    for time, expected in ((940, "admitted"), (1060, "admitted"), (939, "identity.clock"),
                           (1061, "identity.clock")):  # fmt: skip
        assert code(guard, "alice", 1, time=time, at=1000) == expected
    assert code(guard, "alice", 2, time=2000, at=2000) == "admitted"
    assert code(guard, "alice", 1, time=940, at=1000) == "identity.clock"
    assert code(guard, "alice", 3, time=1000, at=1000) == "identity.clock"


@pytest.mark.spec("PQ-42")
def test_memory_is_bounded_and_forgets_nothing_too_early() -> None:
    """One more than there is room for waits until the oldest cannot be sent again."""
    guard = ReplayGuard(window_s=60, each=3, askers=2, in_all=4)
    for number in range(3):
        assert code(guard, "alice", number, time=1000 + number, at=1000) == "admitted"
    assert code(guard, "alice", 9, time=1000, at=1000) == "server.busy"
    assert code(guard, "bob", 1, time=1000, at=1000) == "admitted"
    assert code(guard, "bob", 2, time=1000, at=1000) == "server.busy"
    assert code(guard, "carol", 1, time=1000, at=1000) == "server.busy"
    assert code(guard, "alice", 0, time=1000, at=1060) == "private.replayed"
    assert code(guard, "alice", 9, time=1060, at=1061) == "admitted"
    assert code(guard, "carol", 1, time=1060, at=1061) == "admitted"
    assert code(guard, "alice", 2, time=1002, at=1062) == "private.replayed"
    with pytest.raises(UnavailableError):
        guard.admit("dave", nonce(1), time=1061, at=1061)
