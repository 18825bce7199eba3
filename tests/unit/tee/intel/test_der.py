"""The DER inside Intel's extension."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.tee.intel.der import INTEGER, OCTETS, elements


def test_elements_are_split() -> None:
    """Tag and content of each, short and long lengths."""
    data = b"\x02\x01\x07" + b"\x04\x81\x80" + bytes(128) + b"\x04\x00"
    assert elements(data) == [(INTEGER, b"\x07"), (OCTETS, bytes(128)), (OCTETS, b"")]
    assert elements(b"") == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x02",
        b"\x02\x02\x00",
        b"\x04\x80" + bytes(4),
        b"\x04\x81\x7f" + bytes(127),
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x84\xff\xff\xff\xff",
        b"\x04\x81",
        b"\x04\xff" + bytes(8),
        b"\x04\x00" * 65,
    ],
    ids=["tag", "short", "indefinite", "long form", "padded", "huge", "no length", "wide", "many"],
)
def test_other_bytes_are_malformed(data: bytes) -> None:
    """Ends too early, lengths that have a shorter form, and too many elements."""
    with pytest.raises(MalformedError) as e:
        elements(data)
    assert e.value.code == "certificate.malformed"
