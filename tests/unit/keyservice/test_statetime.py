"""Time that never goes back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import TamperedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.statetime import StateTime, time_from_row, time_to_row
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryFreshness, founded


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An open state."""
    folder: Path = tmp_path_factory.mktemp("time")
    platform = SimPlatform.create(folder / "platform", svn=1, debug=False)
    return Store.load(founded(platform), platform, MemoryFreshness())


@pytest.mark.spec("KR-12")
@given(steps=st.lists(st.tuples(st.integers(-5000, 5000), st.floats(0, 100), st.booleans())))
def test_it_never_goes_back(store: Store, steps: list[tuple[int, float, bool]]) -> None:
    """Whatever the machine's clock does, in one process and over restarts that it remembers."""
    time = StateTime(store)
    at, uptime, last = 1_800_000_000, 0.0, 0
    for jump, passed, restart in steps:
        at, uptime = at + jump, uptime + passed
        found = time.read(Moment(at, uptime))
        assert found >= max(last, at)
        last = time.now
        if restart:
            with store.transaction():
                time.remember()
            time, uptime = StateTime(store), 0.0


@pytest.mark.spec("KR-12")
def test_it_goes_on_while_the_clock_is_behind(store: Store) -> None:
    """By the uptime."""
    time = StateTime(store)
    start = time.read(Moment(4_000_000_000, 10.0))
    assert time.read(Moment(0, 70.0)) == start + 60
    assert time.read(Moment(start + 61, 70.0)) == start + 61


@pytest.mark.parametrize("row", [b"", b"1234567", b"123456789"])
def test_a_row_that_is_no_time_is_refused(row: bytes) -> None:
    """The state is damaged."""
    assert time_from_row(time_to_row(7)) == 7
    with pytest.raises(TamperedError) as e:
        time_from_row(row)
    assert e.value.code == "state.tampered"
