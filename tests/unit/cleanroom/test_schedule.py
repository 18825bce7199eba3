"""Ticks, rounds, and following another's clock, with times that the tests say."""

import pytest

from cloister.cleanroom.schedule import Pace, Schedule, Ticker
from cloister.errors import ConfigError

TIMES = Schedule(tick_ms=100, prepare_ticks=3, round_ticks=4, rounds=2, closing_ticks=2)


@pytest.mark.spec("TR-1", "TR-2")
def test_rounds_lie_between_preparation_and_closing() -> None:
    assert TIMES.ticks == 13
    assert [TIMES.round_at(tick) for tick in range(13)] == [None] * 3 + [0] * 4 + [1] * 4 + [
        None
    ] * 2
    assert [TIMES.closed(tick) for tick in range(13)] == [0] * 7 + [1] * 4 + [2] * 2
    assert (TIMES.first_tick(0), TIMES.last_push(0)) == (3, 6)
    assert (TIMES.first_tick(1), TIMES.last_push(1)) == (7, 10)
    assert TIMES.instant(1000.0, 5) == 1000.5


@pytest.mark.spec("TR-1")
@pytest.mark.parametrize(
    "changes",
    [
        {"tick_ms": 9},
        {"tick_ms": 3_600_001},
        {"prepare_ticks": 0},
        {"round_ticks": 2},
        {"rounds": 0},
        {"closing_ticks": 0},
        {"rounds": 2**32},
    ],
)
def test_a_schedule_that_cannot_be_kept(changes: dict[str, int]) -> None:
    times = {"tick_ms": 100, "prepare_ticks": 3, "round_ticks": 4, "rounds": 2, "closing_ticks": 2}
    with pytest.raises(ConfigError) as caught:
        Schedule(**(times | changes))
    assert caught.value.code == "config.value"


def test_the_longest_rounds_within_some_seconds() -> None:
    found = Schedule.within(60, tick_ms=100, rounds=7, prepare_ticks=20, closing_ticks=10)
    assert (found.round_ticks, found.ticks) == (81, 597)
    with pytest.raises(ConfigError):
        Schedule.within(1, tick_ms=100, rounds=7, prepare_ticks=20, closing_ticks=10)
    with pytest.raises(ConfigError):
        Schedule.within(1, tick_ms=0, rounds=7, prepare_ticks=20, closing_ticks=10)


@pytest.mark.spec("TR-3")
def test_ticks_come_in_order_and_late_ones_not_at_all() -> None:
    ticker = Ticker(TIMES, start=1000.0)
    assert ticker.present(999.9) == -1
    assert ticker.next(999.0) == 0
    assert ticker.next(1000.0) == 1  # tick 0 is given out; the next one is due later
    assert ticker.next(1000.24) == 2
    # At 7.6 the ticks 3 to 7 are over by more than a half: they are missed, and no burst follows.
    assert ticker.next(1000.76) == 8
    assert ticker.missed == 5
    assert ticker.present(1000.76) == 7
    assert ticker.next(1000.76) == 9
    assert not ticker.over(1000.76)
    assert ticker.next(1005.0) is None
    assert ticker.missed == 8
    assert ticker.over(1005.0)


@pytest.mark.spec("TR-3")
def test_what_never_came_is_missed() -> None:
    ticker = Ticker(TIMES, start=0.0, first=4)
    ticker.end()
    assert ticker.missed == 9
    assert ticker.next(0.0) is None


@pytest.mark.spec("TR-4")
def test_the_earliest_arrivals_tell_the_time() -> None:
    pace = Pace(TIMES)
    start = 50.0
    for tick in range(31):  # a message that is held up for two seconds moves nothing
        start = pace.heard(tick, 50.0 + tick * 0.1 + (2.0 if tick == 5 else 0.001), start=start)
        assert start == 50.0
    # The welcome was held up: later messages tell that the start was earlier.
    assert pace.heard(31, 49.0 + 31 * 0.1, start=start) == pytest.approx(49.0)


@pytest.mark.spec("TR-4")
def test_a_clock_that_is_slow_is_followed() -> None:
    pace = Pace(TIMES)
    start = 0.0
    for tick in range(100):
        start = pace.heard(tick, tick * 0.1001 + 0.002 * (tick % 3), start=start)
    # After each 32 messages the earliest decides, once it is an eighth of a tick away.
    assert start == 0.0
    for tick in range(100, 400):
        start = pace.heard(tick, tick * 0.1001 + 0.002 * (tick % 3), start=start)
    assert 0.0125 < start < 0.045
