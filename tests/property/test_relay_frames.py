"""Frames say the same however the stream is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.network.frames import (
    ABORT,
    END,
    MAX_FRAME_BYTES,
    Answer,
    Greeting,
    Mark,
    Unframer,
    header,
)

PARTS = st.lists(st.binary(min_size=1, max_size=300), max_size=20)


def read(stream: bytes, cuts: list[int]) -> tuple[bytes, Mark | None]:
    """What a stream carries, and how it stands; None for malformed."""
    unframer = Unframer()
    got, at = b"", 0
    try:
        for end in (*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)):
            got += unframer.feed(stream[at:end])
            at = end
            if unframer.mark is Mark.ABORTED:
                break
    except MalformedError:
        return got, None
    return got, unframer.mark


@pytest.mark.spec("RLY-20", "RLY-21", "RLY-23")
@given(PARTS, st.sampled_from([b"", END, ABORT, END + ABORT]), st.lists(st.integers(0)))
def test_any_cuts_give_the_same(parts: list[bytes], last: bytes, cuts: list[int]) -> None:
    """Data, then how the direction ended."""
    stream = b"".join(header(len(part)) + part for part in parts) + last
    marks = {b"": Mark.OPEN, END: Mark.ENDED, ABORT: Mark.ABORTED, END + ABORT: Mark.ABORTED}
    assert read(stream, cuts) == (b"".join(parts), marks[last])


@given(st.binary(max_size=200), st.lists(st.integers(0)))
def test_hostile_bytes_give_the_same_or_are_refused(stream: bytes, cuts: list[int]) -> None:
    """No cut makes sense of what another one refuses, and nothing else is raised."""
    whole, mark = read(stream, [])
    assert read(stream, cuts)[1] == mark
    if mark is not None:
        assert read(stream, cuts)[0] == whole


@pytest.mark.spec("RLY-20")
@given(st.integers(MAX_FRAME_BYTES + 1, 0xFFFF_FFFE))
def test_a_frame_that_is_too_large_is_refused_at_its_header(size: int) -> None:
    """Before a byte of it is waited for."""
    with pytest.raises(MalformedError):
        Unframer().feed(struct.pack(">I", size))


@pytest.mark.parametrize("size", [0, -1, MAX_FRAME_BYTES + 1])
def test_no_header_is_written_for_what_is_no_frame(size: int) -> None:
    """A length of 0 would say the end."""
    with pytest.raises(ValueError, match="size"):
        header(size)


@given(st.integers(1, 65535), st.sampled_from(Answer))
def test_openings_are_read_as_they_were_written(port: int, answer: Answer) -> None:
    """Four bytes each."""
    assert Greeting.from_bytes(Greeting(port).to_bytes()).port == port
    assert Answer.read_from(answer.encoded()) is answer
