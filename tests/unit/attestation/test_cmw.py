"""Conceptual message wrappers: what is written is read, and what others publish."""

from __future__ import annotations

from typing import Any

import pytest

from cloister.attestation.cmw import (
    MAX_CMW_BYTES,
    CmwCollection,
    CmwRecord,
    CmwTag,
    CmwTunnel,
    content_format_of,
    evidence_in,
    items_in,
    read_cmw,
    tag_of,
    write_cbor_cmw,
    write_json_cmw,
)
from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence
from cloister.errors import CloisterError, EvidenceError, MalformedError

SNP = "application/vnd.cloister.snp"
RECORD = CmwRecord(SNP, b"report", 4)


def code(make: Any, *words: Any) -> str:
    """The code of what is refused."""
    with pytest.raises(CloisterError) as caught:
        make(*words)
    return caught.value.code


# RFC 9999, its examples; and tests of Veraison's implementation of it.
PUBLISHED = [
    ("8219753144deadbeef", CmwRecord(30001, bytes.fromhex("deadbeef"), None)),
    ("da6374763244deadbeef", CmwTag(29884, bytes.fromhex("deadbeef"))),
    ("da637476a7442347da55", CmwTag(30001, bytes.fromhex("2347da55"))),
    ("8319271044deadbeef13", CmwRecord(10000, bytes.fromhex("deadbeef"), 19)),
    ("da6374c51544deadbeef", CmwTag(50000, bytes.fromhex("deadbeef"))),
    (
        "83781d6170706c69636174696f6e2f7369676e65642d636f72696d2b63626f7247d28443a10126a103",
        CmwRecord("application/signed-corim+cbor", bytes.fromhex("d28443a10126a1"), 3),
    ),
]


@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
def test_published_records_and_tags(data: str, expected: CmwRecord | CmwTag) -> None:
    """They are read, and written again they are the same bytes."""
    assert read_cmw(bytes.fromhex(data)) == ("cbor", expected)
    assert write_cbor_cmw(expected) == bytes.fromhex(data)


def test_a_published_collection_in_both_serialisations() -> None:
    """Of Veraison's test of the X.509 extension: nested, typed, with indicators."""
    inner = CmwCollection(
        "tag:ietf.org,2024:Y",
        (("polyscopic", CmwRecord("application/eat-ucs+json", b'{"eat_nonce": ...}', 8)),),
    )
    whole = CmwCollection(
        "tag:ietf.org,2024:X",
        (
            ("bretwaldadom", CmwRecord("application/eat-ucs+cbor", b"\xa1\x0a", None)),
            ("murmurless", inner),
            ("photoelectrograph", CmwRecord("application/eat-ucs+cbor", b"\x82x\x18", 3)),
        ),
    )
    text = (
        '{"__cmwc_t":"tag:ietf.org,2024:X","bretwaldadom":["application/eat-ucs+cbor","oQo"],'
        '"murmurless":{"__cmwc_t":"tag:ietf.org,2024:Y","polyscopic":["application/eat-ucs+json",'
        '"eyJlYXRfbm9uY2UiOiAuLi59",8]},"photoelectrograph":["application/eat-ucs+cbor","gngY",3]}'
    )
    assert read_cmw(text.encode()) == ("json", whole)
    assert write_json_cmw(whole) == text.encode()
    assert read_cmw(write_cbor_cmw(whole)) == ("cbor", whole)


@pytest.mark.spec("INT-7")
def test_every_content_format_has_a_tag_of_its_own() -> None:
    """From the first to the last, with a gap after each 255."""
    tags = [tag_of(number) for number in range(65025)]
    assert (tags[0], tags[255], tags[-1]) == (1668546817, 1668547073, 1668612095)
    assert [content_format_of(tag) for tag in tags] == list(range(65025))
    assert code(tag_of, 65025) == code(tag_of, -1) == "cmw.malformed"
    assert code(content_format_of, 1668547072) == code(content_format_of, 0) == "cmw.malformed"


def test_unknown_bits_of_an_indicator_are_kept() -> None:
    """In both serialisations."""
    record = CmwRecord("a/b", b"x", 0x8000_0010)
    assert read_cmw(write_cbor_cmw(record))[1] == read_cmw(write_json_cmw(record))[1] == record


@pytest.mark.spec("INT-12")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (CmwRecord, ("a", b"x", None)),
        (CmwRecord, ("a/b" + "c" * 600, b"x", None)),
        (CmwRecord, ("a/b", b"", None)),
        (CmwRecord, ("a/b", b"x", 0)),
        (CmwRecord, (65536, b"x", None)),
        (CmwRecord, (True, b"x", None)),
        (CmwTag, (65025, b"x")),
        (CmwTag, (1, b"")),
        (CmwCollection, (None, ())),
        (CmwCollection, ("relative", (("a", RECORD),))),
        (CmwCollection, ("x:" + "y" * 300, (("a", RECORD),))),
        (CmwCollection, (None, (("a", RECORD), ("a", RECORD)))),
        (CmwCollection, (None, ((" ", RECORD),))),
        (CmwCollection, (None, (("__cmwc_t", RECORD),))),
        (CmwCollection, (None, ((2**63, RECORD),))),
        (CmwCollection, (None, tuple((n, RECORD) for n in range(65)))),
    ],
)
def test_what_no_reader_takes_cannot_be_made(make: Any, words: tuple[Any, ...]) -> None:
    """Each with the code that its reader has."""
    assert code(make, *words) == "cmw.malformed"


@pytest.mark.spec("INT-12")
def test_what_no_reader_takes_cannot_be_written() -> None:
    """Numbers in JSON, tunnels of the same serialisation, and what is too deep or too long."""
    for item in (CmwTag(1, b"x"), CmwRecord(1, b"x", None), CmwCollection(None, ((1, RECORD),))):
        assert code(write_json_cmw, item) == "cmw.malformed"
    for write, same in ((write_json_cmw, "json"), (write_cbor_cmw, "cbor")):
        tunnel = CmwTunnel(same, RECORD)  # type: ignore[arg-type]  # a loop's variable
        assert code(write, CmwCollection(None, (("a", tunnel),))) == "cmw.malformed"
    deep: Any = RECORD
    for _ in range(5):
        deep = CmwCollection(None, (("a", deep),))
    assert code(write_cbor_cmw, deep) == "cmw.malformed"
    assert code(write_json_cmw, deep) == "wire.too-large"
    long = CmwRecord("a/b", bytes(MAX_CMW_BYTES), None)
    assert code(write_cbor_cmw, long) == "wire.too-large"


def test_tunnels_are_opened() -> None:
    """In both directions, and what is in them has its path."""
    for write, other in ((write_cbor_cmw, "json"), (write_json_cmw, "cbor")):
        tunnel = CmwTunnel(other, CmwCollection(None, (("b", RECORD),)))  # type: ignore[arg-type]  # likewise
        whole = CmwCollection(None, (("a", tunnel),))
        assert read_cmw(write(whole))[1] == whole
        assert list(items_in(whole)) == [(("a", "b"), RECORD)]


@pytest.mark.spec("INT-11")
def test_tunnels_count_towards_depth_and_number() -> None:
    """Nobody gets around a limit by changing the serialisation."""
    deep: Any = RECORD
    for level in range(3):
        form = "json" if level % 2 else "cbor"
        deep = CmwCollection(None, (("a", CmwTunnel(form, deep)),))  # type: ignore[arg-type]  # likewise
    assert code(write_json_cmw, deep) == "cmw.malformed"
    full = CmwCollection(None, tuple((str(n), RECORD) for n in range(64)))
    many = CmwCollection(None, tuple((str(n), CmwTunnel("json", full)) for n in range(4)))
    assert code(write_cbor_cmw, many) == "cmw.malformed"


@pytest.mark.spec("INT-1")
@pytest.mark.parametrize("first", [0x5B, 0x7B, 0x82, 0xA1, 0xC0])
def test_a_cmw_is_bounded_before_it_is_read(first: int) -> None:
    """By its length, whatever it begins with."""
    assert code(read_cmw, bytes([first]) + bytes(MAX_CMW_BYTES)) == "wire.too-large"


@pytest.mark.spec("INT-15")
def test_the_one_piece_of_evidence() -> None:
    """By its type, however deep; nothing else of it is looked at."""
    other = CmwRecord("application/x", b"y", 2)
    whole = CmwCollection(None, (("a", other), ("b", CmwCollection(None, (("c", RECORD),)))))
    assert evidence_in(whole, {SNP}) == evidence_in(RECORD, {SNP}) == Evidence(SNP, b"report")
    theirs = CmwRecord("application/vnd.amd.sev-snp.attestation-report", b"report", None)
    assert evidence_in(theirs, {SNP}) == Evidence(SNP, b"report")


@pytest.mark.spec("INT-15")
@pytest.mark.parametrize(
    "cmw",
    [
        CmwRecord("application/x", b"y", 4),
        CmwRecord(SNP, b"y", 8),
        CmwRecord(10572, b"y", 4),
        CmwTag(10572, b"y"),
        CmwCollection(None, (("a", RECORD), ("b", RECORD))),
    ],
)
def test_what_is_no_evidence_of_the_kind(cmw: Any) -> None:
    """None, several, something that calls itself a result, or a number that means nothing."""
    with pytest.raises(EvidenceError) as caught:
        evidence_in(cmw, {SNP})
    assert caught.value.code == "evidence.kind"


@pytest.mark.spec("INT-15")
def test_evidence_is_no_longer_than_elsewhere() -> None:
    """A wrapper does not widen the limit."""
    with pytest.raises(MalformedError):
        evidence_in(CmwRecord(SNP, bytes(MAX_EVIDENCE_BYTES + 1), 4), {SNP})
