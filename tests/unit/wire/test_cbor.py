"""Canonical CBOR: one spelling, bounded, nothing else."""

from collections import Counter, namedtuple
from enum import IntEnum

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import LocalProtocolError, MalformedError
from cloister.wire import decode, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(value: object) -> None:
    """Every value comes back equal, and encodes to the same bytes again."""
    data = encode(value)
    again = decode(data, max_bytes=1 << 20)
    assert again == value
    assert encode(again) == data


@given(VALUES)
def test_the_writer_and_the_library_agree(value: object) -> None:
    """Our writer's bytes are those of the library's canonical form."""
    assert encode(value) == cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_every_length_has_its_shortest_head(size: int) -> None:
    """Strings, arrays and maps on both sides of each threshold are as the library writes them."""
    for value in (bytes(size), "x" * size, [None] * size, {str(n): n for n in range(size)}):
        data = cbor2.dumps(value, canonical=True)
        assert encode(value) == data
        assert decode(data, max_bytes=1 << 20) == value


@pytest.mark.parametrize("bits", [8, 16, 32, 63, 64])
def test_every_integer_has_its_shortest_head(bits: int) -> None:
    """Numbers on both sides of each threshold, and of the format's end."""
    for value in {2**bits - 1, 2**bits, -(2**bits), -(2**bits) - 1}:
        if -(2**63) <= value < 2**64:
            assert encode(value) == cbor2.dumps(value, canonical=True)
        else:
            with pytest.raises(LocalProtocolError):
                encode(value)


class _Word(str):
    """A text that shows something else than it holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"


def test_subclasses_are_written_as_what_they_hold() -> None:
    """Enumerations, counters and named tuples give the bytes of the plain values."""
    number, pair = IntEnum("Number", {"one": 1}), namedtuple("Pair", ("left", "right"))
    value = {"a": number(1), "b": _Word("held"), "c": pair(1, 2), "d": Counter("xx")}
    assert encode(value) == encode({"a": 1, "b": "held", "c": [1, 2], "d": {"x": 2}})


def test_maps_with_the_same_keys_keep_their_own_values() -> None:
    """What is known of a set of keys is their order, whatever order they come in."""
    keys = [f"key{n}" for n in range(40)] + ["k" * 600]
    for names in (keys[:3], keys[2::-1], keys, keys[::-1]):
        value = {name: names.index(name) for name in names}
        assert encode(value) == cbor2.dumps(value, canonical=True)


@given(st.binary(max_size=200))
def test_garbage_raises_malformed_only(data: bytes) -> None:
    """Whatever bytes come, the answer is a value or MalformedError."""
    try:
        value = decode(data, max_bytes=200)
    except MalformedError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x18\x01",  # 1 in two bytes
        b"\x5f\x41a\xff",  # indefinite byte string
        b"\xa2\x61b\x01\x61a\x02",  # unsorted keys
        b"\xa2\x61a\x01\x61a\x02",  # repeated key
        b"\xa1\x01\x02",  # integer key
        b"\xf9\x3c\x00",  # float
        b"\xc1\x01",  # tag
        b"\xf7",  # undefined
        b"\x01\x01",  # trailing byte
        b"",  # nothing
        b"\x81" * 40 + b"\x01",  # too deep
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # huge array length
    ],
)
def test_other_spellings_are_refused(data: bytes) -> None:
    """Non-canonical and out-of-profile encodings raise `wire.malformed`."""
    with pytest.raises(MalformedError) as caught:
        decode(data, max_bytes=1000)
    assert caught.value.code == "wire.malformed"


@pytest.mark.parametrize("content", [b"\x01", b"\x41a", b"\x61a", b"\x80", b"\x82\x01\x01"])
def test_no_tag_is_read(content: bytes) -> None:
    """No tag that the library knows, and none that it does not, stands for any value."""
    for tag in [*range(1200), 43000, 55799, 65535, 2**32, 2**64 - 1]:
        data = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1] + content
        with pytest.raises(MalformedError) as caught:
            decode(data, max_bytes=100)
        assert caught.value.code == "wire.malformed"


@pytest.mark.timeout(20)
def test_what_is_read_is_no_larger_than_the_input() -> None:
    """A few hundred bytes that refer to one another, a tree of 16**15 leaves, are refused at once.

    Such a request kept a service busy for ever, and needed no signature.
    """
    shared, reference = b"\xd8\x1c", b"\xd8\x1d"
    levels = [shared + b"\x90" + b"\x00" * 16]
    levels += [shared + b"\x90" + (reference + bytes([n])) * 16 for n in range(14)]
    with pytest.raises(MalformedError) as caught:
        decode(bytes([0x80 | len(levels)]) + b"".join(levels), max_bytes=1 << 20)
    assert caught.value.code == "wire.malformed"


def test_length_is_checked_before_parsing() -> None:
    """An input over the limit is refused as too large."""
    with pytest.raises(MalformedError) as caught:
        decode(b"\x01" * 11, max_bytes=10)
    assert caught.value.code == "wire.too-large"


@pytest.mark.parametrize("value", [1.5, object(), {1: 2}, "\ud800", 2**64, [{"a": 2.0}]])
def test_values_without_canonical_form_are_our_bug(value: object) -> None:
    """Encoding something the profile lacks raises a local protocol error."""
    with pytest.raises(LocalProtocolError):
        encode(value)
