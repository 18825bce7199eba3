"""Values that the key service makes for others, checked by other tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from cloister.crypto.generated import (
    KeyAlgorithm,
    certificate_end,
    draw_password,
    issue_certificate,
    make_authority,
    make_key_pair,
)
from cloister.errors import MalformedError

AT = 1_800_000_000
DAY = 86400


def test_a_password_has_its_length_and_alphabet() -> None:
    """Every character is drawn from the alphabet, and two passwords differ."""
    one = draw_password(length=200, alphabet="abcdefghij")
    assert len(one) == 200
    assert set(one) == set("abcdefghij")
    assert one != draw_password(length=200, alphabet="abcdefghij")


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("ed25519", ed25519.Ed25519PrivateKey),
        ("ecdsa-p256", ec.EllipticCurvePrivateKey),
        ("x25519", x25519.X25519PrivateKey),
    ],
)
def test_a_key_pair_is_of_its_algorithm(algorithm: KeyAlgorithm, kind: type) -> None:
    """Private and public key belong together, and the `repr` shows neither."""
    pair = make_key_pair(algorithm)
    key = load_pem_private_key(pair.private, password=None)
    assert isinstance(key, kind)
    assert key.public_key() == load_pem_public_key(pair.public)
    assert "PRIVATE" not in repr(pair)


def leaf_of(
    authority_days: int, leaf_days: int, *, spiffe: str | None = None
) -> tuple[bytes, bytes]:
    """A leaf and its authority's certificate."""
    signer, key = make_key_pair("ecdsa-p256"), make_key_pair("ecdsa-p256")
    certificate = make_authority(
        signer.private, common_name="lab", at=AT, lifetime_s=authority_days * DAY
    )
    leaf = issue_certificate(
        key.private,
        authority_private=signer.private,
        authority_certificate=certificate,
        dns=("db.example", "*.db.example"),
        spiffe=spiffe,
        at=AT,
        lifetime_s=leaf_days * DAY,
    )
    return leaf, certificate


def test_a_leaf_verifies_against_its_authority(tmp_path: Path) -> None:
    """OpenSSL accepts the chain for its purpose at its time, and sees the names."""
    leaf, authority = leaf_of(100, 10, spiffe="spiffe://lab.example/db")
    (tmp_path / "leaf.pem").write_bytes(leaf)
    (tmp_path / "ca.pem").write_bytes(authority)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(AT)]
    done = subprocess.run(
        [*command, "-CAfile", "ca.pem", "leaf.pem"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = x509.load_pem_x509_certificate(leaf).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["db.example", "*.db.example"]
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["spiffe://lab.example/db"]


def test_an_authority_signs_leaves_only() -> None:
    """Its path length is 0, and it may do nothing but sign."""
    _, authority = leaf_of(100, 10)
    read = x509.load_pem_x509_certificate(authority)
    constraints = read.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    usage = read.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_a_leaf_does_not_outlive_its_authority() -> None:
    """Its end is cut to the authority's."""
    leaf, authority = leaf_of(5, 10)
    assert certificate_end(leaf) == certificate_end(authority) == AT + 5 * DAY
    leaf, _ = leaf_of(100, 10)
    assert certificate_end(leaf) == AT + 10 * DAY


def test_only_a_p256_key_gets_a_certificate() -> None:
    """Another key is refused."""
    with pytest.raises(MalformedError) as e:
        make_authority(make_key_pair("ed25519").private, common_name="x", at=AT, lifetime_s=DAY)
    assert e.value.code == "certificate.malformed"
