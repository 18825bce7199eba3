"""Canonical CBOR: one spelling, bounded, nothing else."""

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
