"""Certificates with a SPIFFE ID."""

import ssl

import pytest

from cloister.crypto.chain import to_pem
from cloister.crypto.x509 import (
    CertificateAuthority,
    Identity,
    TLSKey,
    read_peer_certificate,
    require_authorities,
)
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


def exchanged(data: bytes, old: str, new: str) -> bytes:
    """Other bytes in the first place where these stand."""
    assert bytes.fromhex(old) in data
    return data.replace(bytes.fromhex(old), bytes.fromhex(new), 1)


@pytest.mark.spec("KR-30")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("020100", "020101"),
        ("06072a8648ce3d0201", "06072a8648ce3d0202"),
        ("06082a8648ce3d030107", "06082a8648ce3d030102"),
        ("06082a8648ce3d040302", "06082a8648ce3d04037f"),
    ],
    ids=["version", "key", "curve", "signature"],
)
def test_requests_of_kinds_that_the_library_does_not_know_are_malformed(old: str, new: str) -> None:
    """It raises other errors for them than for bytes that are no request."""
    ca, request = authority(), exchanged(TLSKey.generate().request(), old, new)
    with pytest.raises(MalformedError) as e:
        ca.issue(request, WHO, policy_hash=b"p" * 32, hardware_rooted=False, at=AT, lifetime_s=60)
    assert e.value.code == "certificate.malformed"


def test_certificates_of_a_version_that_there_is_not() -> None:
    """From a peer, and as authorities."""
    ca = authority()
    leaf = exchanged(issue(ca), "a003020102", "a003020107")
    with pytest.raises(IdentityError) as e:
        read_peer_certificate(leaf, ca_pem=ca.certificate_pem, at=AT)
    assert e.value.code == "identity.tls"
    with pytest.raises(MalformedError) as malformed:
        require_authorities(to_pem([leaf]))
    assert malformed.value.code == "certificate.malformed"
