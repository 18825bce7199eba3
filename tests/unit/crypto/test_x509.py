"""Certificates with a SPIFFE ID."""

import ssl

import pytest

from cloister.crypto.x509 import CertificateAuthority, Identity, TLSKey, read_peer_certificate
from cloister.errors import IdentityError, MalformedError

AT = 1_800_000_000
WHO = Identity("example.org", "default", "digits", "serve", "a1")


def authority() -> CertificateAuthority:
    """A fresh CA."""
    return CertificateAuthority.create(trust_domain="example.org", at=AT, lifetime_s=86400)


def issue(ca: CertificateAuthority, who: Identity = WHO) -> bytes:
    """A leaf in DER."""
    pem = ca.issue(
        TLSKey.generate().request(),
        who,
        policy_hash=b"p" * 32,
        hardware_rooted=False,
        at=AT,
        lifetime_s=3600,
    )
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_a_leaf_says_who_and_under_which_policy() -> None:
    """Identity, policy hash and hardware_rooted come back."""
    ca = CertificateAuthority(*authority().to_secret())
    peer = read_peer_certificate(issue(ca), ca_pem=ca.certificate_pem, at=AT + 60)
    assert peer.identity == WHO
    assert peer.policy_hash == b"p" * 32
    assert peer.hardware_rooted is False
    Identity("example.org", "default", "digits", "serve", "*").require_matches(peer.identity)


def test_another_authority_is_refused() -> None:
    """A leaf of another CA, garbage, and the CA itself in a leaf's place are refused."""
    ca, other = authority(), authority()
    for leaf in (issue(other), b"garbage", b""):
        with pytest.raises(IdentityError) as caught:
            read_peer_certificate(leaf, ca_pem=ca.certificate_pem, at=AT)
        assert caught.value.code == "identity.tls"
    with pytest.raises(MalformedError):
        read_peer_certificate(
            ssl.PEM_cert_to_DER_cert(ca.certificate_pem.decode()), ca_pem=ca.certificate_pem, at=AT
        )
    with pytest.raises(MalformedError):
        read_peer_certificate(bytes(20000), ca_pem=ca.certificate_pem, at=AT)


@pytest.mark.parametrize("at", [AT - 301, AT + 3601])
def test_a_clock_outside_the_lifetime_is_named(at: int) -> None:
    """Expired and not yet valid have the clock's code."""
    ca = authority()
    with pytest.raises(IdentityError) as caught:
        read_peer_certificate(issue(ca), ca_pem=ca.certificate_pem, at=at)
    assert caught.value.code == "identity.clock"


@pytest.mark.parametrize("field", ["trust_domain", "namespace", "policy", "role", "instance"])
def test_every_part_of_an_identity_counts(field: str) -> None:
    """One other part is another peer."""
    parts = {
        "trust_domain": "example.org",
        "namespace": "default",
        "policy": "digits",
        "role": "serve",
        "instance": "a1",
    }
    other = Identity(**(parts | {field: "other"}))
    with pytest.raises(IdentityError) as caught:
        WHO.require_matches(other)
    assert caught.value.code == "identity.peer"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "https://a/b/c/d/e",
        "spiffe://a/b/c/d",
        "spiffe://a/b/c/d/e/f/g/h/i",
        "spiffe://a//b/c/d/e",
        "spiffe://a/../c/d/e",
        "spiffe://a/b/c/*/e",
        "spiffe://A b/b/c/d/e",
    ],
)
def test_uris_are_read_strictly(uri: str) -> None:
    """Anything but our five parts is malformed."""
    with pytest.raises(MalformedError):
        Identity.from_uri(uri)
    assert Identity.from_uri(WHO.uri) == WHO


def test_requests_must_prove_possession_of_a_p256_key() -> None:
    """Garbage, a broken signature, and an instance of `*` get no certificate."""
    ca = authority()
    request = bytearray(TLSKey.generate().request())
    request[-1] ^= 1
    for bad in (bytes(request), b"", b"\x30\x00", bytes(20000)):
        with pytest.raises(MalformedError):
            ca.issue(bad, WHO, policy_hash=b"p" * 32, hardware_rooted=False, at=AT, lifetime_s=60)
    with pytest.raises(MalformedError):
        ca.issue(
            TLSKey.generate().request(),
            Identity("example.org", "d", "p", "r", "*"),
            policy_hash=b"p" * 32,
            hardware_rooted=False,
            at=AT,
            lifetime_s=60,
        )
