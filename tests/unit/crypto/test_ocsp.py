"""OCSP responses: who may sign them, until when they count, what they say."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloister.crypto.chain import ECDSA_SHA256, ECDSA_SHA384, Certificate
from cloister.crypto.ocsp import MAX_OCSP_BYTES, OcspResponse, ocsp_request
from cloister.errors import CloisterError, MalformedError
from cloister.testing.manufacturers.device_pki import Authority

AT = 1_800_000_000
YEAR = (AT - 1000, AT + 1000)
ROOT = Authority.root("root", "ocsp/root", validity=YEAR)
OTHER = Authority.root("other", "ocsp/other", validity=YEAR)
LEAF = ROOT.issue("leaf", "ocsp/leaf", validity=YEAR, ca=False)
SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
RESPONDER = ROOT.issue(
    "responder", "ocsp/responder", validity=YEAR, ca=False, extensions=(SIGNING,)
)
GOOD = OCSPCertStatus.GOOD


def answer(
    der: bytes,
    *,
    about: Certificate = LEAF.path[0],
    issuer: Certificate = ROOT.path[0],
    algorithm: str = ECDSA_SHA384,
    at: int = AT,
) -> bool | str:
    """Ask a response about a certificate; returns what it says, or the code."""
    try:
        return OcspResponse.from_der(der).vouches(about, issuer, {algorithm}, at=at)
    except CloisterError as e:
        return e.code


def response(
    status: OCSPCertStatus = GOOD,
    *,
    by: Authority = ROOT,
    validity: tuple[int, int] = YEAR,
    responder: Authority | None = None,
) -> bytes:
    """Make a response about the leaf."""
    return by.ocsp_response(LEAF.path[0], status, validity=validity, responder=responder)


def test_the_issuer_says_good_revoked_or_unknown() -> None:
    """Unknown is not good."""
    assert answer(response()) is True
    assert answer(response(OCSPCertStatus.REVOKED)) == "endorsement.revoked"
    assert answer(response(OCSPCertStatus.UNKNOWN)) is False


def test_a_response_about_others_says_nothing() -> None:
    """Serial number, issuer's name and issuer's key are the certificate's."""
    assert answer(response(), about=RESPONDER.path[0]) is False
    assert answer(response(), issuer=OTHER.path[0]) is False


def test_a_response_counts_within_its_window() -> None:
    """Both ends included, and not one second outside."""
    der = response(validity=(AT - 10, AT + 10))
    assert answer(der, at=AT - 10) is True
    assert answer(der, at=AT + 10) is True
    assert answer(der, at=AT - 11) == "endorsement.stale"
    assert answer(der, at=AT + 11) == "endorsement.stale"


def test_revoked_stays_revoked() -> None:
    """An old response that says revoked is not merely old."""
    der = response(OCSPCertStatus.REVOKED, validity=(AT - 10, AT + 10))
    assert answer(der, at=AT + 11) == "endorsement.revoked"


def test_a_responder_that_the_issuer_certified_may_sign() -> None:
    """It comes along in the response, and is valid at the instant."""
    assert answer(response(responder=RESPONDER)) is True
    expired = ROOT.issue(
        "old", "ocsp/old", validity=(AT - 9, AT - 1), ca=False, extensions=(SIGNING,)
    )
    assert answer(response(responder=expired)) == "endorsement.expired"


@pytest.mark.parametrize(
    "responder",
    [
        ROOT.issue("plain", "ocsp/plain", validity=YEAR, ca=False),
        ROOT.issue("authority", "ocsp/authority", validity=YEAR, ca=True, extensions=(SIGNING,)),
        OTHER.issue("foreign", "ocsp/foreign", validity=YEAR, ca=False, extensions=(SIGNING,)),
        ROOT.issue(
            "more",
            "ocsp/more",
            validity=YEAR,
            ca=False,
            extensions=(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
            ),
        ),
        OTHER,
    ],
    ids=["no purpose", "an authority", "another issuer's", "more purposes", "another root"],
)
def test_nobody_else_may_sign(responder: Authority) -> None:
    """Certified by the issuer, for nothing but that."""
    assert answer(response(responder=responder)) == "endorsement.signature"


def test_the_profile_names_the_algorithm() -> None:
    """A response signed with another one than the profile's is refused."""
    assert answer(response(), algorithm=ECDSA_SHA256) == "endorsement.signature"


def test_changed_bytes_are_refused() -> None:
    """No bit can be changed without a refusal, or silence about this certificate.

    Around what is signed there is one byte that may differ: how many bits of the signature's last
    byte are unused, where that byte is even.
    """
    der = response()
    good = OcspResponse.from_der(der)
    for at in range(len(der)):
        changed = der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :]
        found = answer(changed)
        if found is True:
            again = OcspResponse.from_der(changed)
            assert (again._signed, again._signature) == (good._signed, good._signature)
        else:
            assert found in (False, "certificate.malformed", "endorsement.signature")


def test_what_is_no_response_is_malformed() -> None:
    """Errors of responders, cut bytes, too many bytes."""
    failed = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    for der in (
        b"",
        response()[:-1],
        bytes(MAX_OCSP_BYTES + 1),
        failed.public_bytes(Encoding.DER),
    ):
        with pytest.raises(MalformedError) as caught:
            OcspResponse.from_der(der)
        assert caught.value.code == "certificate.malformed"


def test_a_request_names_one_certificate_and_has_a_nonce() -> None:
    """As any responder reads it."""
    nonce = bytes(range(32))
    asked = ocsp.load_der_ocsp_request(ocsp_request(LEAF.path[0], ROOT.path[0], nonce))
    assert asked.serial_number == LEAF.path[0].serial
    assert [each.value for each in asked.extensions] == [x509.OCSPNonce(nonce)]


def test_a_response_says_whom_it_is_about_and_which_request_it_answers() -> None:
    """Without a nonce it answers none."""
    certificate, issuer = LEAF.path[0], ROOT.path[0]
    nonce = bytes(range(32))
    found = OcspResponse.from_der(ROOT.ocsp_response(certificate, GOOD, validity=YEAR, nonce=nonce))
    assert found.nonce == nonce
    assert OcspResponse.from_der(response()).nonce == b""
    assert found.names(certificate, issuer)
    assert not found.names(RESPONDER.path[0], issuer)
    assert not found.names(certificate, OTHER.path[0])
    assert (found.this_update, found.next_update) == YEAR
    assert found.serials == (certificate.serial,)
    assert answer(found.der) is True
