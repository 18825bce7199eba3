"""Documents of a simulated manufacturer through the verifier: every way to be wrong."""

from dataclasses import replace

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.errors import CloisterError, ConfigError
from cloister.tee.cose import ES256, CoseSign1
from cloister.tee.nitro.fields import FIELDS
from cloister.tee.nitro.layout import MEDIA_TYPE, read_document
from cloister.tee.nitro.roots import NITRO_ROOTS
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.testing.manufacturers.device_pki import raw_signature
from cloister.testing.manufacturers.nitro import SimulatedNitro

AT = 1_800_000_000
MAKER = SimulatedNitro("verifier", at=AT)
OTHER = SimulatedNitro("other", at=AT)


def code_of(
    evidence: Evidence,
    *,
    anchor: bytes = MAKER.anchor,
    endorsements: tuple[Endorsement, ...] = (),
    at: int = AT,
) -> str:
    """Return the code of the refusal."""
    with pytest.raises(CloisterError) as caught:
        NitroVerifier([anchor]).verify(evidence, endorsements, at=at)
    return caught.value.code


@pytest.mark.spec("NIT-10", "NIT-20", "NIT-21")
def test_a_document_is_accepted_and_is_no_hardware() -> None:
    """The claims are what it says; the anchor is the caller's."""
    document = MAKER.document(nonce=b"n", public_key=b"k")
    claims = NitroVerifier([MAKER.anchor]).verify(MAKER.evidence(document), (), at=AT)
    assert appraise_claims(claims, FIELDS, default_rules(FIELDS)).accepted
    assert (claims.root_of_trust, claims.anchor) == ("nitro", MAKER.anchor)
    assert not claims.hardware_rooted
    assert not claims.debug
    assert claims.measurement == document.pcrs[0]
    assert claims.report_data == document.user_data
    assert claims.vendor["timestamp"] == document.timestamp
    assert claims.vendor["module_id"] == document.module_id
    assert claims.vendor["pcrs"]["8"] == document.pcrs[8]
    assert (claims.vendor["nonce"], claims.vendor["public_key"]) == (b"n", b"k")


@pytest.mark.spec("NIT-20")
def test_debug_enclaves_are_told_and_refused_by_default() -> None:
    """PCR0 is zero, or is not there."""
    for document in (MAKER.document(debug=True), MAKER.document(pcrs={4: b"x" * 48})):
        claims = NitroVerifier([MAKER.anchor]).verify(MAKER.evidence(document), (), at=AT)
        assert claims.debug
        assert claims.measurement == bytes(48)
        verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
        assert [reason.detail.partition(":")[0] for reason in verdict.reasons] == ["debug"]


@pytest.mark.spec("NIT-20")
def test_what_the_enclave_did_not_give_is_empty() -> None:
    """No user data, no report data; a rule about it then does not hold."""
    evidence = MAKER.evidence(MAKER.document(user_data=None))
    claims = NitroVerifier([MAKER.anchor]).verify(evidence, (), at=AT)
    assert claims.report_data == b""
    assert claims.vendor["nonce"] is None


@pytest.mark.spec("NIT-6")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made."""
    with pytest.raises(ConfigError) as caught:
        NitroVerifier(())
    assert caught.value.code == "config.missing"


@pytest.mark.spec("NIT-6", "NIT-11")
def test_simulated_documents_are_refused_under_the_pinned_root() -> None:
    """The same code, another anchor."""
    for anchor in (*NITRO_ROOTS, OTHER.anchor):
        assert code_of(MAKER.evidence(), anchor=anchor) == "endorsement.anchor"


@pytest.mark.spec("NIT-5", "NIT-10")
def test_other_kinds_are_refused() -> None:
    """Another media type, and endorsements that nothing could use."""
    assert code_of(Evidence("application/other", MAKER.evidence().body)) == "evidence.kind"
    crl = Endorsement("application/pkix-crl", b"")
    assert code_of(MAKER.evidence(), endorsements=(crl,)) == "endorsement.malformed"
    assert code_of(Evidence(MEDIA_TYPE, bytes(16385))) == "evidence.malformed"


@pytest.mark.spec("NIT-12")
def test_certificates_count_within_their_window() -> None:
    """Both ends included, and not one second outside."""
    evidence = MAKER.evidence()
    verifier = NitroVerifier([MAKER.anchor])
    for at in (AT, AT + 3 * 3600):
        assert verifier.verify(evidence, (), at=at).anchor == MAKER.anchor
    for at in (AT - 1, AT + 3 * 3600 + 1):
        assert code_of(evidence, at=at) == "endorsement.expired"


@pytest.mark.spec("NIT-13")
def test_documents_signed_by_others_are_refused() -> None:
    """Another key, a changed payload, a changed signature, another algorithm."""
    message, document = read_document(MAKER.evidence().body)
    stranger = OTHER.instance()
    forged = MAKER.sign(document.to_bytes(), signer=stranger)
    altered = replace(message, payload=replace(document, user_data=b"x").to_bytes())
    other = CoseSign1(ES256, message.payload, message.signature)
    for case in (forged, altered, other, replace(message, signature=bytes(96))):
        evidence = Evidence(MEDIA_TYPE, case.to_bytes(tagged=False))
        assert code_of(evidence) == "evidence.signature"
    short = Evidence(MEDIA_TYPE, replace(message, signature=b"s").to_bytes(tagged=False))
    assert code_of(short) == "evidence.signature"


@pytest.mark.spec("NIT-13")
def test_a_signer_on_another_curve_is_refused() -> None:
    """The profile names the curve, not the certificate."""
    signer = MAKER.instance(curve="P-256")
    payload = MAKER.document(signer=signer).to_bytes()
    unsigned = CoseSign1(ES256, payload, b"")
    message = replace(unsigned, signature=raw_signature(signer.key, unsigned.signed))
    evidence = Evidence(MEDIA_TYPE, message.to_bytes(tagged=False))
    assert code_of(evidence) == "certificate.malformed"


@pytest.mark.spec("NIT-11", "NIT-12")
def test_bundles_are_whole_and_in_order() -> None:
    """Missing, swapped, foreign and unreadable certificates are refused."""
    document = MAKER.document()
    root, region = document.cabundle
    foreign = OTHER.document().cabundle
    for bundle, code in (
        ((region,), "endorsement.anchor"),
        ((root,), "endorsement.signature"),
        ((region, root), "endorsement.anchor"),
        ((root, foreign[1]), "endorsement.signature"),
        ((root, b"x"), "certificate.malformed"),
        ((root, region, region), "endorsement.signature"),
    ):
        assert code_of(MAKER.evidence(replace(document, cabundle=bundle))) == code


@pytest.mark.spec("NIT-12")
def test_an_enclaves_certificate_certifies_nobody() -> None:
    """A signer that issues a certificate for another signer is no authority."""
    signer = MAKER.instance()
    below = signer.issue("enc", "verifier/below", validity=(AT, AT + 9), ca=False)
    evidence = MAKER.evidence(MAKER.document(signer=below), signer=below)
    assert code_of(evidence) == "endorsement.signature"


def test_documents_are_the_same_for_the_same_seed() -> None:
    """Vectors can be made again."""
    assert SimulatedNitro("verifier", at=AT).evidence() == MAKER.evidence()
