"""Values that the key service makes for others: passwords, key pairs, authorities, certificates.

What is returned as `private` or `key` is secret; everything else is public.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloister.crypto.x509 import BACKDATE_S, key_usage
from cloister.errors import MalformedError

__all__ = [
    "KeyAlgorithm",
    "KeyPair",
    "certificate_end",
    "draw_password",
    "issue_certificate",
    "make_authority",
    "make_key_pair",
]

KeyAlgorithm = Literal["ed25519", "ecdsa-p256", "x25519"]
_MAX_COMMON_NAME: Final = 64


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A private key as PKCS#8 PEM, and its public key as SPKI PEM."""

    private: bytes
    public: bytes


def draw_password(*, length: int, alphabet: str) -> str:
    """Draw each character uniformly from `alphabet`, whose characters differ."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def make_key_pair(algorithm: KeyAlgorithm) -> KeyPair:
    """Make a fresh key pair."""
    key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "x25519":
        key = x25519.X25519PrivateKey.generate()
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def make_authority(private: bytes, *, common_name: str, at: int, lifetime_s: int) -> bytes:
    """Return the self-signed certificate, as PEM, of an authority that signs leaves only."""
    key = _p256(private)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME])])
    builder = _builder(key.public_key(), issuer=name, at=at, end=at + lifetime_s)
    certificate = (
        builder.subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def issue_certificate(
    private: bytes,
    *,
    authority_private: bytes,
    authority_certificate: bytes,
    dns: Sequence[str],
    spiffe: str | None,
    at: int,
    lifetime_s: int,
) -> bytes:
    """Return a leaf certificate, as PEM, for the key `private`; it never outlives its authority.

    Args:
        private: The leaf's P-256 key, PKCS#8 PEM.
        authority_private: The authority's P-256 key, PKCS#8 PEM.
        authority_certificate: Its certificate, PEM.
        dns: Its DNS names.
        spiffe: Its SPIFFE ID, or None.
        at: Now, in seconds since the epoch.
        lifetime_s: How long it is good for.
    """
    key, signer = _p256(private), _p256(authority_private)
    issuer = x509.load_pem_x509_certificate(authority_certificate)
    end = min(at + lifetime_s, certificate_end(authority_certificate))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    if spiffe is not None:
        names.append(x509.UniformResourceIdentifier(spiffe))
    usage = x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        _builder(key.public_key(), issuer=issuer.subject, at=at, end=end)
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(signed_by, critical=False)
        .sign(signer, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def certificate_end(certificate: bytes) -> int:
    """Return when a PEM certificate of ours ends, in seconds since the epoch."""
    read = x509.load_pem_x509_certificate(certificate)
    return int(read.not_valid_after_utc.timestamp())


def _p256(private: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(private, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError("not a P-256 key", code="certificate.malformed")
    return key


def _builder(
    public: ec.EllipticCurvePublicKey, *, issuer: x509.Name, at: int, end: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(at - BACKDATE_S, tz=dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(end, tz=dt.UTC))
    )
