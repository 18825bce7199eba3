"""From hostile wrappers and certificates, only our errors escape."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.cmw import read_cmw, write_cbor_cmw, write_json_cmw
from cloister.attestation.ratls import (
    CMW_EXTENSION,
    DICE_EXTENSION,
    GRAMINE_EXTENSION,
    read_certificate_evidence,
)
from cloister.attestation.tsm_report import TSM_CBOR, TSM_JSON, read_tsm_report
from cloister.crypto.carrier import CarrierCertificate
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError, MalformedError

AT: Final = 1_800_000_000
VECTORS: Final = Path(__file__).parents[2] / "docs/spec/vectors/evidence-interop-v1"
CASES: Final = [json.loads(path.read_text("utf-8")) for path in sorted(VECTORS.glob("*.json"))]
CMWS: Final = [bytes.fromhex(case["cmw"]) for case in CASES if "cmw" in case]
CERTIFICATES: Final = [bytes.fromhex(c["certificate"]) for c in CASES if "certificate" in c]
KEY: Final = TLSKey.generate()
MEDIA_TYPES: Final = {"application/vnd.cloister.tdx", "application/vnd.cloister.snp"}
WORDS: Final = st.sampled_from(
    ["__cmwc_t", "#cmw-j2c-tunnel", "#cmw-c2j-tunnel", "a/b", "YQ", "1.2.3", "pubkey-hash", "nonce"]
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=8) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.integers(-9, 9), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.sampled_from([1668546817, 60000, 28, 2]), inner)
    ),
    max_leaves=20,
)


def read(data: bytes) -> None:
    """Read a CMW; what is read, written again, reads the same."""
    with contextlib.suppress(MalformedError):
        serialisation, found = read_cmw(data)
        again = write_cbor_cmw(found) if serialisation == "cbor" else write_json_cmw(found)
        assert read_cmw(again) == (serialisation, found)


def open_certificate(data: bytes) -> None:
    """Read a certificate."""
    with contextlib.suppress(CloisterError):
        read_certificate_evidence(CarrierCertificate.from_der(data), media_types=MEDIA_TYPES, at=AT)


def carrying(extension: str, value: bytes) -> None:
    """Read a certificate that carries hostile bytes, and is itself in order."""
    with contextlib.suppress(CloisterError):
        pem = KEY.self_signed(extension=extension, value=value, at=AT, lifetime_s=60)
        found = CarrierCertificate.from_pem(pem)
        read_certificate_evidence(found, media_types=MEDIA_TYPES, at=AT)


@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    """Random ones, also behind a first byte that is right."""
    for start in (b"", b"\x82", b"\xa1", b"\xda\x63\x74\x01\x01", b"[", b"{"):
        read(start + data)


def spelt(value: Any) -> list[bytes]:
    """A value in CBOR and in JSON, as far as it has these; what is tested is not called here."""
    found = []
    for write in (cbor2.dumps, lambda each: json.dumps(each).encode()):
        with contextlib.suppress(cbor2.CBORError, OverflowError, TypeError, ValueError):
            found.append(write(value))
    return found


@given(VALUES)
def test_values(value: Any) -> None:
    """Of CBOR and JSON, which nearly have the right names."""
    for data in spelt(value):
        read(data)


@given(VALUES)
def test_values_as_reports(value: Any) -> None:
    """Of `configfs-tsm`, in both of its spellings, also with the names that they have."""
    for each in (value, {"provider": "sev_guest", "outblob": value}):
        for data in spelt(each):
            for media_type in (TSM_CBOR, TSM_JSON):
                with contextlib.suppress(MalformedError):
                    read_tsm_report(media_type, data)


@given(st.sampled_from(CMWS), st.data())
def test_changed_cmws(cmw: bytes, data: st.DataObject) -> None:
    """A byte of a vector is another one, or gone, or several."""
    place = data.draw(st.integers(0, max(len(cmw) - 1, 0)))
    read(cmw[:place] + data.draw(st.binary(max_size=3)) + cmw[place + 1 :])


@given(st.sampled_from(CERTIFICATES), st.data())
def test_changed_certificates(certificate: bytes, data: st.DataObject) -> None:
    """Likewise."""
    place = data.draw(st.integers(0, len(certificate) - 1))
    open_certificate(
        certificate[:place] + data.draw(st.binary(max_size=3)) + certificate[place + 1 :]
    )


@given(st.sampled_from([DICE_EXTENSION, CMW_EXTENSION, GRAMINE_EXTENSION]), st.data())
def test_extensions(extension: str, data: st.DataObject) -> None:
    """In a certificate that is in order: bytes, CBOR values, and claims of such values."""
    for value in spelt(data.draw(VALUES)):
        quote = bytes.fromhex("0400020081000000")
        tagged = cbor2.CBORTag(60000, [quote, value])
        for each in (value, b"\x04" + bytes([len(value) & 127]) + value, cbor2.dumps(tagged)):
            carrying(extension, each)
    carrying(extension, data.draw(st.binary(max_size=60)))


@pytest.mark.parametrize(
    "data",
    [
        b"\x82" * 300000,
        b"\xa1\x61a" * 100000,
        b"\xda\x63\x74\x01\x01" * 100000,
        b'{"a":' * 100000,
        b"[" * 500000,
        b"\x82\x63a/b\x9b" + b"\xff" * 8,
        b"\x82\x63a/b\x5a\xff\xff\xff\xff",
        b"\xbb" + b"\x7f" * 8,
        b"\x82\x63a/b\xd8\x1d\x00",
        b"\xbf" * 1000,
        b"\x9f" * 1000,
    ],
)
def test_bombs_end_in_our_error(data: bytes) -> None:
    """Depth, counts and lengths beyond all bounds; nothing is reserved for them."""
    with pytest.raises(MalformedError):
        read_cmw(data)
    carrying(CMW_EXTENSION, data[:9000])
    carrying(DICE_EXTENSION, b"\xd9\xea\x60" + data[:9000])


def test_the_seeds_hold() -> None:
    """So that their changes mean something."""
    for case in CASES:
        if case["expect"] == "ok" and "cmw" in case:
            read_cmw(bytes.fromhex(case["cmw"]))
        elif case["expect"] == "ok":
            found = CarrierCertificate.from_der(bytes.fromhex(case["certificate"]))
            read_certificate_evidence(found, media_types=case["media_types"], at=AT)
