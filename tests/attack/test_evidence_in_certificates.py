"""Promise P30: a wrapper adds no trust. The attacker owns genuine machines and all certificates.

Evidence in a certificate is about that certificate's key or is refused, and such a certificate is
no identity of Cloister's, however genuine its evidence.
"""

from __future__ import annotations

import pytest

from cloister.attestation.binding import bind
from cloister.attestation.cmw import CmwCollection, CmwRecord, write_cbor_cmw
from cloister.attestation.measurement import LaunchMeasurement
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
from cloister.crypto.digest import sha256
from cloister.crypto.x509 import CertificateAuthority, TLSKey, read_peer_certificate
from cloister.errors import EvidenceError, IdentityError, RefusedError
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Minted, SimulatedIntel

AT, TDX = 1_800_000_000, "application/vnd.cloister.tdx"
INTEL = SimulatedIntel(b"attack", at=AT)
VICTIM, ATTACKER = TLSKey.generate(), TLSKey.generate()
NONCE = b"the relying party's nonce"
BUFFER = claims_buffer(VICTIM.public_key_info(), NONCE)


def minted(report_data: bytes) -> Minted:
    """A genuine quote of the simulated manufacturer's."""
    return INTEL.mint(IntelCase("tdx5", report_data=report_data))


def certificate(key: TLSKey, extension: str, value: bytes) -> bytes:
    """A certificate that its key signed, as PEM."""
    return key.self_signed(extension=extension, value=value, at=AT, lifetime_s=3600)


def judge(pem: bytes, made: Minted) -> CertificateEvidence:
    """Judge a certificate as a relying party does; returns what held."""
    found = CarrierCertificate.from_pem(pem)
    carried = read_certificate_evidence(found, media_types={TDX}, at=AT)
    claims = TdxVerifier([INTEL.anchor]).verify(carried.evidence, made.endorsements, at=AT)
    carried.require_bound(claims)
    return carried


GENUINE = minted(report_data_of_buffer(BUFFER).value)


def test_the_victims_own_certificate_holds() -> None:
    """The control: what the attacks change is what refuses."""
    pem = certificate(VICTIM, DICE_EXTENSION, tagged_evidence(GENUINE.evidence, BUFFER))
    carried = judge(pem, GENUINE)
    carried.require_nonce(NONCE)


@pytest.mark.spec("INT-24", "INT-26", "INT-28", "INT-29", "INT-31")
def test_a_quote_that_is_moved_to_the_attackers_key() -> None:
    """With the victim's claims, with claims of the attacker's, and in every other form."""
    own = claims_buffer(ATTACKER.public_key_info(), NONCE)
    for extension, value in (
        (DICE_EXTENSION, tagged_evidence(GENUINE.evidence, BUFFER)),
        (DICE_EXTENSION, tagged_evidence(GENUINE.evidence, own)),
        (CMW_EXTENSION, cmw_extension(GENUINE.evidence)),
        (GRAMINE_EXTENSION, GENUINE.quote),
    ):
        with pytest.raises(EvidenceError) as caught:
            judge(certificate(ATTACKER, extension, value), GENUINE)
        assert caught.value.code == "evidence.binding"


def test_a_quote_of_one_form_in_another() -> None:
    """What binds a key in Gramine's form binds none where claims do, for the same key."""
    spki = VICTIM.public_key_info()
    by_key, by_hash = minted(sha256(spki) + bytes(32)), minted(report_data_of_key(spki).value)
    for made in (by_key, by_hash):
        with pytest.raises(EvidenceError):
            judge(certificate(VICTIM, DICE_EXTENSION, tagged_evidence(made.evidence, BUFFER)), made)
    for made in (GENUINE, by_hash):
        with pytest.raises(EvidenceError):
            judge(certificate(VICTIM, GRAMINE_EXTENSION, made.quote), made)


@pytest.mark.spec("INT-32")
def test_a_certificate_of_yesterday() -> None:
    """Its evidence holds for as long as it is valid: only the nonce shows that it is old."""
    pem = certificate(VICTIM, DICE_EXTENSION, tagged_evidence(GENUINE.evidence, BUFFER))
    carried = judge(pem, GENUINE)
    with pytest.raises(EvidenceError) as caught:
        carried.require_nonce(b"another nonce, of today")
    assert caught.value.code == "evidence.binding"
    quiet = claims_buffer(VICTIM.public_key_info(), None)
    made = minted(report_data_of_buffer(quiet).value)
    carried = judge(
        certificate(VICTIM, DICE_EXTENSION, tagged_evidence(made.evidence, quiet)), made
    )
    assert "certificate.nonce" in {each.rule for each in carried.not_checked}


def test_evidence_of_a_key_release_in_a_certificate() -> None:
    """What a workload shows a key service binds no certificate, whatever it asked for."""
    spki = ATTACKER.public_key_info()
    bound = bind(
        service=bytes(32),
        nonce=bytes(32),
        policy=bytes(32),
        workload="train",
        instance="1",
        hpke_key=spki,
        certificate_request=ATTACKER.request(),
        measurement=LaunchMeasurement(bytes(32), bytes(32)),
    )
    made = minted(bound.value)
    for extension, value in (
        (CMW_EXTENSION, cmw_extension(made.evidence)),
        (DICE_EXTENSION, tagged_evidence(made.evidence, claims_buffer(spki, None))),
    ):
        with pytest.raises(EvidenceError):
            judge(certificate(ATTACKER, extension, value), made)


@pytest.mark.spec("INT-15")
def test_genuine_evidence_beside_the_attackers_own() -> None:
    """Two quotes in a collection: neither is chosen."""
    own = minted(report_data_of_key(ATTACKER.public_key_info()).value)
    items = (("0", GENUINE.quote), ("1", own.quote))
    both = CmwCollection(None, tuple((label, CmwRecord(TDX, quote, 4)) for label, quote in items))
    data = write_cbor_cmw(both)
    value = b"\x04\x82" + len(data).to_bytes(2, "big") + data
    with pytest.raises(EvidenceError) as caught:
        judge(certificate(ATTACKER, CMW_EXTENSION, value), own)
    assert caught.value.code == "evidence.kind"


def test_a_genuine_machine_of_the_attackers_is_nobody_in_tls() -> None:
    """Diversion: its own certificate holds as evidence, and is no identity under any pinned CA."""
    buffer = claims_buffer(ATTACKER.public_key_info(), NONCE)
    made = minted(report_data_of_buffer(buffer).value)
    pem = certificate(ATTACKER, DICE_EXTENSION, tagged_evidence(made.evidence, buffer))
    judge(pem, made).require_nonce(NONCE)
    authority = CertificateAuthority.create(trust_domain="example.org", at=AT, lifetime_s=3600)
    found = CarrierCertificate.from_pem(pem)
    with pytest.raises(IdentityError) as caught:
        read_peer_certificate(found.certificate.der, ca_pem=authority.certificate_pem, at=AT)
    assert caught.value.code == "identity.tls"


def test_a_simulated_manufacturers_quote_under_genuine_roots() -> None:
    """A certificate brings no anchor of its own."""
    from cloister.tee.intel.roots import INTEL_ROOTS  # noqa: PLC0415  # where it is used

    pem = certificate(VICTIM, DICE_EXTENSION, tagged_evidence(GENUINE.evidence, BUFFER))
    found = CarrierCertificate.from_pem(pem)
    carried = read_certificate_evidence(found, media_types={TDX}, at=AT)
    with pytest.raises(RefusedError) as caught:
        TdxVerifier(sorted(INTEL_ROOTS)).verify(carried.evidence, GENUINE.endorsements, at=AT)
    assert caught.value.code == "endorsement.anchor"
