"""Every CMW that can be made is read as it was written, in the serialisations that have it."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.cmw import (
    Cmw,
    CmwCollection,
    CmwRecord,
    CmwTag,
    CmwTunnel,
    read_cmw,
    write_cbor_cmw,
    write_json_cmw,
)
from cloister.errors import MalformedError

TYPES = st.sampled_from(
    ["a/b", "application/eat+cwt", 'application/eat+cwt; eat_profile="tag:x,2026:y"', "x/y;a=b"]
)
VALUES = st.binary(min_size=1, max_size=40)
INDICATORS = st.none() | st.integers(1, 2**32 - 1)
LABELS = st.text(min_size=1, max_size=10).filter(
    lambda text: bool(text.strip()) and text != "__cmwc_t"
)
RECORDS = st.builds(CmwRecord, TYPES, VALUES, INDICATORS)
NUMBERED = st.builds(CmwRecord, st.integers(0, 65535), VALUES, INDICATORS)
TAGS = st.builds(CmwTag, st.integers(0, 65024), VALUES)
KINDS = st.none() | st.sampled_from(["1.2.3", "tag:x,2026:y", "https://example.org/x"])


Items = st.SearchStrategy[Cmw]
Labels = st.SearchStrategy[int | str]


def collections(items: Items, labels: Labels) -> st.SearchStrategy[CmwCollection]:
    """Collections of these."""
    return st.builds(
        lambda kind, found: CmwCollection(kind, tuple(found.items())),
        KINDS,
        st.dictionaries(labels, items, min_size=1, max_size=4),
    )


TEXTUAL: st.SearchStrategy[Cmw] = st.recursive(
    RECORDS, lambda inner: collections(inner, LABELS), max_leaves=6
)
BINARY: st.SearchStrategy[Cmw] = st.recursive(
    RECORDS | NUMBERED | TAGS,
    lambda inner: collections(inner, LABELS | st.integers(-(2**63), 2**63 - 1)),
    max_leaves=6,
)


@given(TEXTUAL)
def test_json_there_and_back(cmw: Cmw) -> None:
    """And the same in CBOR, where it is not too deep."""
    with contextlib.suppress(MalformedError):
        data = write_json_cmw(cmw)
        assert read_cmw(data) == ("json", cmw)
        assert write_json_cmw(read_cmw(data)[1]) == data
        assert read_cmw(write_cbor_cmw(cmw)) == ("cbor", cmw)


@given(BINARY)
def test_cbor_there_and_back(cmw: Cmw) -> None:
    """Numbers and tags included; one byte string has one reading."""
    with contextlib.suppress(MalformedError):
        data = write_cbor_cmw(cmw)
        assert read_cmw(data) == ("cbor", cmw)
        assert write_cbor_cmw(read_cmw(data)[1]) == data


@given(TEXTUAL, BINARY)
def test_tunnels_there_and_back(textual: Cmw, binary: Cmw) -> None:
    """A CMW in a collection of the other serialisation stays what it is."""
    with contextlib.suppress(MalformedError):
        outer = CmwCollection(None, (("a", CmwTunnel("json", textual)),))
        assert read_cmw(write_cbor_cmw(outer)) == ("cbor", outer)
    with contextlib.suppress(MalformedError):
        outer = CmwCollection(None, (("a", CmwTunnel("cbor", binary)),))
        assert read_cmw(write_json_cmw(outer)) == ("json", outer)
