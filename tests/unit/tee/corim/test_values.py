"""Parts of CoRIMs: bounded, strict, and refused by our own errors."""

from __future__ import annotations

import pytest

from cloister.errors import EndorsementError, MalformedError
from cloister.tee.corim.values import (
    Validity,
    identifier,
    read_list,
    read_map,
    shown,
    text,
    validity,
    whole_seconds,
)
from cloister.wire.foreign_cbor import ForeignValue, Tagged


@pytest.mark.spec("REF-8")
def test_both_ends_of_a_validity_count() -> None:
    """And an end that is open does not limit."""
    limits = Validity(5, 9)
    for at in (5, 9):
        limits.require(at)
    for at in (4, 10):
        with pytest.raises(EndorsementError) as e:
            limits.require(at)
        assert e.value.code == "corim.validity"
    Validity(None, None).require(0)


@pytest.mark.parametrize("value", ["", "x" * 1025, "a\nb", 5, None, b"a", [1]])
def test_other_values_are_no_texts(value: ForeignValue) -> None:
    """Nothing that could break a line."""
    with pytest.raises(MalformedError):
        text(value)


def test_identifiers_are_texts_or_uuids() -> None:
    """With a tag or without."""
    assert identifier("x") == "x"
    assert identifier(b"\1" * 16) == identifier(Tagged(37, b"\1" * 16)) == "01" * 16
    for value in (b"\1" * 15, Tagged(37, b"\1"), Tagged(5, "x"), 1):
        with pytest.raises(MalformedError):
            identifier(value)


def test_lists_and_maps_are_not_empty() -> None:
    """A list has as many values as are allowed."""
    assert read_list([1, 2], "it", most=2) == [1, 2]
    for value in ([], [1, 2, 3], "ab", b"ab", None, {1: 2}):
        with pytest.raises(MalformedError):
            read_list(value, "it", most=2)
    with pytest.raises(MalformedError):
        read_list([1], "it", most=2, exactly=2)
    assert read_map({1: 2}, "it") == {1: 2}
    for other in ({}, [1], None):
        with pytest.raises(MalformedError):
            read_map(other, "it")


@pytest.mark.parametrize("value", [-1, True, "1", Tagged(1, "x"), Tagged(32, 1)])
def test_instants_are_whole_seconds(value: ForeignValue) -> None:
    """With the tag for them or without one."""
    assert whole_seconds(Tagged(1, 7)) == whole_seconds(7) == 7
    with pytest.raises(MalformedError):
        whole_seconds(value)


@pytest.mark.parametrize("value", [{}, {0: 1}, {1: 5, 2: 1}, [1], {1: "x"}])
def test_a_validity_has_an_end(value: ForeignValue) -> None:
    """And nothing beside its two ends."""
    assert validity({1: 5}) == Validity(None, 5)
    assert validity(None) == Validity(None, None)
    with pytest.raises(MalformedError):
        validity(value)


def test_words_of_a_file_stay_on_one_line() -> None:
    """For terminals, comments and logs."""
    assert shown("a\x1b[2J\nb") == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b"
    assert len(shown("x" * 5000)) == 240
