"""Certificate authorities of simulated manufacturers of devices, the same for the same seed."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from cloister.crypto.chain import Certificate

__all__ = ["Authority", "device_key", "raw_signature", "spki"]

_CURVES: Final[dict[str, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}


def device_key(seed: str, curve: str = "P-384") -> ec.EllipticCurvePrivateKey:
    """Derive a key from a text."""
    number = int.from_bytes(hashlib.sha512(seed.encode("utf-8")).digest()[:31])
    return ec.derive_private_key(number, _CURVES[curve])


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key's DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign with the curve's own hash; returns r and s, big-endian, of the curve's length each."""
    width = (key.curve.key_size + 7) // 8
    digest = SHA384() if width == 48 else SHA256()  # noqa: PLR2004  # P-384's
    der = key.sign(message, ec.ECDSA(digest, deterministic_signing=True))
    return b"".join(number.to_bytes(width) for number in decode_dss_signature(der))


@dataclass(frozen=True)
class Authority:
    """A key, and the path from its certificate to the root.

    Attributes:
        key: The private key.
        path: Its own certificate first, the root last.
    """

    key: ec.EllipticCurvePrivateKey
    path: tuple[Certificate, ...]

    @classmethod
    def root(cls, name: str, seed: str, *, validity: tuple[int, int]) -> Authority:
        """Make a root that signs itself."""
        key = device_key(seed)
        certificate = _sign(name, key, name, key, extensions=(), validity=validity, ca=True)
        return cls(key, (certificate,))

    def issue(
        self,
        name: str,
        seed: str,
        *,
        validity: tuple[int, int],
        ca: bool,
        extensions: Sequence[x509.ExtensionType] = (),
        curve: str = "P-384",
    ) -> Authority:
        """Certify a new key."""
        key = device_key(seed, curve)
        issuer = self.path[0].common_name
        certificate = _sign(
            name, key, issuer, self.key, extensions=extensions, validity=validity, ca=ca
        )
        return Authority(key, (certificate, *self.path))

    @property
    def pem(self) -> bytes:
        """The path as PEM."""
        return b"".join(
            x509.load_der_x509_certificate(each.der).public_bytes(Encoding.PEM)
            for each in self.path
        )

    def revocation_list(
        self, revoked: Sequence[Certificate], *, validity: tuple[int, int]
    ) -> bytes:
        """Sign a list of certificates that are revoked; DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(self.path[0].common_name))
            .last_update(_date(validity[0]))
            .next_update(_date(validity[1]))
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.serial)
                .revocation_date(_date(validity[0]))
                .build()
            )
        return builder.sign(self.key, SHA384(), ecdsa_deterministic=True).public_bytes(Encoding.DER)

    def ocsp_response(
        self,
        certificate: Certificate,
        status: ocsp.OCSPCertStatus,
        *,
        validity: tuple[int, int],
        responder: Authority | None = None,
        nonce: bytes = b"",
    ) -> bytes:
        """Answer about a certificate of this authority; DER, with a new signature each time."""
        signer = responder or self
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        parsed = x509.load_der_x509_certificate(signer.path[0].der)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=x509.load_der_x509_certificate(certificate.der),
                issuer=x509.load_der_x509_certificate(self.path[0].der),
                algorithm=SHA1(),  # noqa: S303  # names an issuer, as responders do
                cert_status=status,
                this_update=_date(validity[0]),
                next_update=_date(validity[1]),
                revocation_time=_date(validity[0]) if revoked else None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, parsed)
        )
        if nonce:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        if responder is not None:
            builder = builder.certificates([parsed])
        return builder.sign(signer.key, SHA384()).public_bytes(Encoding.DER)


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    extensions: Sequence[x509.ExtensionType],
    validity: tuple[int, int],
    ca: bool,
) -> Certificate:
    usage = {
        "digital_signature": not ca,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": ca,
        "crl_sign": ca,
        "encipher_only": False,
        "decipher_only": False,
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(name.encode() + spki(key)).digest()[:19]) | 1)
        .not_valid_before(_date(validity[0]))
        .not_valid_after(_date(validity[1]))
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    if ca:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(issuer_key, SHA384(), ecdsa_deterministic=True)
    return Certificate.from_der(signed.public_bytes(Encoding.DER))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _date(at: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)
