"""Frames of one size."""

from __future__ import annotations

import tracemalloc

import pytest

from cloister.cleanroom.frames import (
    MAX_FRAME_BYTES,
    Deframer,
    frames_for,
    idle,
    require_frame_bytes,
    split,
)
from cloister.errors import CallerError, MalformedError


@pytest.mark.spec("CC-20", "CC-21", "CC-22")
@pytest.mark.parametrize("length", [1, 55, 56, 57, 119, 120, 121, 1000])
def test_a_message_comes_as_it_was_sent(length: int) -> None:
    """In as many frames as there must be."""
    message = bytes(range(1, 251)) * 4
    frames = list(split(message[:length], 64))
    assert {len(frame) for frame in frames} == {64}
    assert len(frames) == frames_for(length, 64) == -(-(length + 8) // 64)
    deframer = Deframer(64, 1000)
    found = [deframer.feed(frame) for frame in frames]
    assert found == [None] * (len(frames) - 1) + [message[:length]]
    assert deframer.between


@pytest.mark.spec("CC-23")
def test_an_idle_frame_is_a_frame() -> None:
    """Of the same size."""
    deframer = Deframer(64, 1000)
    assert len(idle(64)) == 64
    assert deframer.feed(idle(64)) is None
    assert deframer.between


@pytest.mark.spec("CC-24")
def test_an_idle_frame_inside_a_message_is_part_of_it() -> None:
    """Nobody sends one there; zeros in a message are zeros."""
    deframer = Deframer(64, 1000)
    message = b"x" * 56 + bytes(64) + b"y" * 64
    frames = list(split(message, 64))
    assert frames[1] == idle(64)
    assert [deframer.feed(frame) for frame in frames] == [None, None, message]


@pytest.mark.spec("CC-21")
def test_memory_grows_with_what_came() -> None:
    """An announcement costs nothing."""
    first = next(split(bytes(1 << 24), 64))
    tracemalloc.start()
    deframer = Deframer(64, 1 << 24)
    for _ in range(100):
        assert deframer.feed(first) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not deframer.between
    assert peak < 100_000


@pytest.mark.spec("CC-21")
def test_a_long_message_is_refused_at_its_first_frame() -> None:
    """Before the others are waited for."""
    with pytest.raises(MalformedError) as caught:
        Deframer(64, 100).feed(next(split(bytes(101), 64)))
    assert caught.value.code == "wire.too-large"


@pytest.mark.spec("CC-20")
@pytest.mark.parametrize("size", [0, 8, 63, 65, 100, -64, MAX_FRAME_BYTES + 8])
def test_frames_have_no_other_sizes(size: int) -> None:
    """A caller's mistake."""
    for call in (
        require_frame_bytes,
        idle,
        lambda size: Deframer(size, 1),
        lambda size: next(split(b"x", size)),
    ):
        with pytest.raises(CallerError):
            call(size)


def test_nothing_is_no_message() -> None:
    """Its frame would be an idle one."""
    with pytest.raises(CallerError):
        next(split(b"", 64))
