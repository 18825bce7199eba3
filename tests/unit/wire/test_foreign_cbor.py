"""CBOR of others: one reading, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign, write_foreign

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=8) | st.integers(-99, 99), inner, max_size=5)
        | st.builds(Tagged, st.sampled_from([18, 399]), inner)
    ),
    max_leaves=6,
)


def read(data: bytes) -> ForeignValue:
    """Read at most 300 bytes."""
    return read_foreign(data, what="a thing", max_bytes=300, code="evidence.malformed")


@given(VALUES)
def test_round_trip(value: ForeignValue) -> None:
    """What was written is read, in its order, where it is not too deep."""
    try:
        found = read_foreign(
            write_foreign(value), what="a thing", max_bytes=4096, code="evidence.malformed"
        )
    except MalformedError:
        return
    assert found == value
    assert write_foreign(found) == write_foreign(value)


@given(st.binary(max_size=200))
def test_garbage_raises_malformed_only(data: bytes) -> None:
    """Whatever bytes come, the answer is a value that is written as they are, or MalformedError."""
    try:
        value = read(data)
    except MalformedError:
        return
    assert write_foreign(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\x18\x01",  # 1 in two bytes
        b"\x5f\x41a\xff",  # indefinite byte string
        b"\xbf\xff",  # indefinite map
        b"\x9f\xff",  # indefinite array
        b"\xa2\x61a\x01\x61a\x02",  # repeated key
        b"\xa2\x01\x01\x01\x02",  # repeated key
        b"\xa2\x01\x01\x18\x01\x02",  # repeated key in another spelling
        b"\xa1\x41a\x02",  # a key of bytes
        b"\xa1\xf5\x02",  # a key that is true
        b"\xf9\x3c\x00",  # float
        b"\xc1\x01",  # a tag that the library understands
        b"\xd8\x1c\x80",  # a shared value
        b"\xd8\x3d\x80",  # a tag that nobody reads
        b"\xd9\xd9\xf7\x01",  # the tag that says CBOR
        b"\xf7",  # undefined
        b"\xe0",  # a simple value
        b"\xc2\x41\x01",  # a big number
        b"\x62\xc3\x28",  # not UTF-8
        b"\x01\x01",  # trailing byte
        b"",  # nothing
        b"\x81" * 40 + b"\x01",  # too deep
        b"\xd2" * 10 + b"\x01",  # too deep
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # huge array length
        b"\x59\x01\x40" + bytes(320),  # too long
    ],
)
def test_other_spellings_are_refused(data: bytes) -> None:
    """Each raises with the code of its place."""
    with pytest.raises(MalformedError) as caught:
        read(data)
    assert caught.value.code == "evidence.malformed"


def test_order_is_free_and_tags_are_told() -> None:
    """What COSE has, and canonical bytes have not."""
    assert read(b"\xa2\x02\x01\x01\x02") == {2: 1, 1: 2}
    assert read(b"\xd2\x81\x20") == Tagged(18, [-1])


def test_the_caller_says_which_tags_and_how_deep() -> None:
    """A tag that the library knows comes as it is; one that was not named is refused."""
    data = bytes.fromhex("d901f5a101c11a6b49d200")  # 501({1: 1(1800000000)})
    words = {"what": "it", "max_bytes": 99, "code": "evidence.malformed"}
    found = read_foreign(data, tags=frozenset({1, 501}), **words)
    assert found == Tagged(501, {1: Tagged(1, 1_800_000_000)})
    for tags in (frozenset({501}), frozenset({1}), frozenset({18, 399})):
        with pytest.raises(MalformedError):
            read_foreign(data, tags=tags, **words)
    nested = b"\x81" * 9 + b"\x00"
    assert read_foreign(nested, max_depth=9, **words)
    with pytest.raises(MalformedError):
        read_foreign(nested, max_depth=8, **words)
