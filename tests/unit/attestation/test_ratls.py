"""Evidence in certificates, and whether it is about the certificate's key."""

from __future__ import annotations

import dataclasses

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence
from cloister.attestation.ratls import (
    CMW_EXTENSION,
    DICE_EXTENSION,
    GRAMINE_EXTENSION,
    CertificateEvidence,
    claims_buffer,
    cmw_extension,
    read_certificate_evidence,
    report_data_of_buffer,
    report_data_of_key,
    tagged_evidence,
)
from cloister.crypto.carrier import CarrierCertificate
from cloister.crypto.digest import sha256, sha512
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError, EvidenceError, MalformedError

AT = 1_800_000_000
TDX, SNP = "application/vnd.cloister.tdx", "application/vnd.cloister.snp"
QUOTE = Evidence(TDX, bytes.fromhex("0400020081000000") + b"q" * 100)
REPORT = Evidence(SNP, b"report")
NONCE = b"n" * 32
CLAIMS = Claims(
    root_of_trust="tdx",
    anchor=bytes(32),
    hardware_rooted=False,
    measurement=bytes(48),
    report_data=b"",
    debug=False,
    security_version=0,
    status="",
    advisories=(),
    hardware_id=b"",
    vendor={},
)


def certificate(key: TLSKey, extension: str, value: bytes) -> CarrierCertificate:
    """A certificate as `cloister evidence certificate` makes it."""
    pem = key.self_signed(extension=extension, value=value, at=AT, lifetime_s=3600)
    return CarrierCertificate.from_pem(pem)


def read(found: CarrierCertificate, media_type: str) -> CertificateEvidence:
    """Read it when it was made."""
    return read_certificate_evidence(found, media_types={media_type}, at=AT)


def reporting(report_data: bytes) -> Claims:
    """Claims of genuine evidence with this report data."""
    return dataclasses.replace(CLAIMS, report_data=report_data)


@pytest.mark.spec("INT-34", "INT-26")
def test_what_is_written_as_interoperable_is_read() -> None:
    """With its nonce, and bound to the key that signed it."""
    key = TLSKey.generate()
    buffer = claims_buffer(key.public_key_info(), NONCE)
    found = read(certificate(key, DICE_EXTENSION, tagged_evidence(QUOTE, buffer)), TDX)
    assert (found.form, found.evidence, found.nonce) == ("interoperable", QUOTE, NONCE)
    assert found.not_checked == ()
    found.require_bound(reporting(report_data_of_buffer(buffer).value))
    found.require_nonce(NONCE)


@pytest.mark.spec("INT-34", "INT-28")
def test_what_is_written_as_cmw_is_read() -> None:
    """Without a nonce, which is said."""
    key = TLSKey.generate()
    found = read(certificate(key, CMW_EXTENSION, cmw_extension(REPORT)), SNP)
    assert (found.form, found.evidence, found.nonce) == ("cmw", REPORT, None)
    assert [each.rule for each in found.not_checked] == ["certificate.nonce"]
    bound = report_data_of_key(key.public_key_info()).value
    assert bound == sha512(key.public_key_info())
    found.require_bound(reporting(bound))


@pytest.mark.spec("INT-31")
def test_evidence_about_another_key_is_refused() -> None:
    """In each form, also where it is about a key that somebody else has."""
    key, other = TLSKey.generate(), TLSKey.generate()
    buffer = claims_buffer(key.public_key_info(), None)
    forms = {
        DICE_EXTENSION: (tagged_evidence(QUOTE, buffer), TDX),
        CMW_EXTENSION: (cmw_extension(REPORT), SNP),
        GRAMINE_EXTENSION: (QUOTE.body, TDX),
    }
    spki = other.public_key_info()
    for extension, (value, media_type) in forms.items():
        found = read(certificate(key, extension, value), media_type)
        for report_data in (
            bytes(64),
            b"",
            sha512(spki),
            sha256(spki) + bytes(32),
            report_data_of_buffer(claims_buffer(spki, None)).value,
            found.report_data[0][:-1],
            found.report_data[0] + b"\0",
        ):
            with pytest.raises(EvidenceError) as caught:
                found.require_bound(reporting(report_data))
            assert caught.value.code == "evidence.binding"


@pytest.mark.spec("INT-24")
def test_claims_about_another_key_are_refused_before_anything_is_verified() -> None:
    """A genuine quote and its claims, moved to a key of the attacker's."""
    key, attacker = TLSKey.generate(), TLSKey.generate()
    value = tagged_evidence(QUOTE, claims_buffer(key.public_key_info(), NONCE))
    with pytest.raises(EvidenceError) as caught:
        read(certificate(attacker, DICE_EXTENSION, value), TDX)
    assert caught.value.code == "evidence.binding"


@pytest.mark.spec("INT-32")
def test_another_nonce_and_none_are_refused() -> None:
    """A certificate that answers nothing answers no question."""
    key = TLSKey.generate()
    for nonce in (None, b"m" * 32, NONCE[:31]):
        buffer = claims_buffer(key.public_key_info(), nonce)
        found = read(certificate(key, DICE_EXTENSION, tagged_evidence(QUOTE, buffer)), TDX)
        with pytest.raises(EvidenceError) as caught:
            found.require_nonce(NONCE)
        assert caught.value.code == "evidence.binding"


@pytest.mark.spec("INT-20")
def test_a_certificate_counts_only_while_it_is_valid() -> None:
    """Backdated a little, and to the second at its end."""
    made = certificate(TLSKey.generate(), CMW_EXTENSION, cmw_extension(REPORT))
    for at in (AT - 300, AT + 3600):
        read_certificate_evidence(made, media_types={SNP}, at=at)
    for at in (AT - 301, AT + 3601):
        with pytest.raises(CloisterError) as caught:
            read_certificate_evidence(made, media_types={SNP}, at=at)
        assert caught.value.code == "endorsement.expired"


def test_what_has_no_place_is_not_written() -> None:
    """A report where quotes go, a nonce that is empty or too long, a certificate too large."""
    key = TLSKey.generate()
    with pytest.raises(EvidenceError) as caught:
        tagged_evidence(REPORT, b"")
    assert caught.value.code == "evidence.kind"
    for nonce in (b"", bytes(65)):
        with pytest.raises(MalformedError):
            claims_buffer(key.public_key_info(), nonce)
    with pytest.raises(MalformedError) as wrong:
        certificate(key, CMW_EXTENSION, bytes(16384))
    assert wrong.value.code == "certificate.malformed"
