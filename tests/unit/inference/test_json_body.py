"""JSON without its liberties."""

import tracemalloc

import pytest

from cloister.inference.json_body import MAX_CONTAINERS, read_body


def test_what_json_is() -> None:
    """As the library reads it."""
    assert read_body(b'{"a": [1, 2.5, true, null, "x"]}') == {"a": [1, 2.5, True, None, "x"]}


def test_a_mark_at_the_beginning_says_nothing() -> None:
    """Some programs write it, and what follows is UTF-8 all the same."""
    assert read_body("\ufeff[1]".encode()) == [1]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_json_is_utf_8(coding: str) -> None:
    """No other coding is guessed."""
    with pytest.raises(ValueError):
        read_body('{"ä": [1]}'.encode(coding))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,"a":1}', b"[" * 100_000, b"\xff"]
)
def test_what_it_is_not(data: bytes) -> None:
    """One kind of error for all."""
    with pytest.raises(ValueError):
        read_body(data)


@pytest.mark.spec("SRV-14")
@pytest.mark.parametrize("item", [b"[],", b"{},", b'"ab",', b'{"a":[]},'])
def test_small_values_without_end_are_refused_before_they_are_made(item: bytes) -> None:
    """A body takes no many times its size in memory."""
    data = b"[" + item * (2**23 // len(item)) + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many"):
            read_body(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.spec("SRV-14")
def test_as_many_lists_as_the_limit_are_read() -> None:
    """One more is not."""
    most = b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"[]]"
    assert len(read_body(most)) == MAX_CONTAINERS - 1
    with pytest.raises(ValueError, match="too many"):
        read_body(most[:-1] + b",[]]")
