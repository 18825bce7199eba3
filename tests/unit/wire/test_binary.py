"""Bytes taken from the front."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.wire.binary import BinaryReader


def test_nothing_is_taken_beyond_the_end() -> None:
    """A length that the bytes claim and do not have is the format's own error; nothing is taken."""
    reader = BinaryReader(
        b"abcdef", cut_off=lambda: MalformedError("short", code="evidence.malformed")
    )
    assert (reader.take(2), reader.take(0), reader.left) == (b"ab", b"", 4)
    with pytest.raises(MalformedError) as e:
        reader.take(5)
    assert e.value.code == "evidence.malformed"
    assert (reader.rest(), reader.take(4), reader.left) == (b"cdef", b"cdef", 0)
