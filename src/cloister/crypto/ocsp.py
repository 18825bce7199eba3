"""OCSP (RFC 6960): what is asked, who signed a response, and what it says. No I/O.

Invariants:
    1. A response counts only where the certificate's own issuer signed it, or a responder that this
       issuer certified for nothing but that.
    2. It has a next update; after that it counts no more.
    3. "Unknown" is not "good".

Who signed a response does not depend on the time: what held is remembered by all of its bytes, and
what counts when, and of whom, is judged every time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloister.crypto.chain import ECDSA_SHA256, ECDSA_SHA384, MAX_PATH, Certificate
from cloister.errors import EndorsementError, MalformedError, UnavailableError

__all__ = ["MAX_OCSP_BYTES", "OCSP_NONCE_BYTES", "OcspResponse", "ocsp_request"]

MAX_OCSP_BYTES: Final = 65536
OCSP_NONCE_BYTES: Final = 32  # RFC 9654
_MAX_ENTRIES: Final = 8
_REMEMBERED: Final = 32
_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
_HASHES: Final[dict[str, HashAlgorithm]] = {ECDSA_SHA256: SHA256(), ECDSA_SHA384: SHA384()}
_MALFORMED: Final = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a response says of one certificate; hashes are of its issuer's name and key."""

    hash_name: str
    issuer_name: bytes
    issuer_key: bytes
    serial: int
    status: ocsp.OCSPCertStatus
    this_update: int
    next_update: int


@dataclass(frozen=True, slots=True, eq=False)
class OcspResponse:
    """A response, parsed; nobody has checked its signature yet.

    Attributes:
        der: Its bytes.
        responders: Certificates that came in it.
        signature_algorithm: Object identifier.
        nonce: The nonce that it repeats; empty where it has none.
    """

    der: bytes
    responders: tuple[Certificate, ...]
    signature_algorithm: str
    nonce: bytes
    _entries: tuple[_Entry, ...] = field(repr=False)
    _signed: bytes = field(repr=False)
    _signature: bytes = field(repr=False)

    @classmethod
    def from_der(cls, der: bytes) -> OcspResponse:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no successful response of at most `MAX_OCSP_BYTES`, or an entry
                has no next update or a critical extension (`certificate.malformed`).
        """
        if len(der) > MAX_OCSP_BYTES:
            raise MalformedError("an OCSP response is too long", code="certificate.malformed")
        try:
            return _read(der)
        except _MALFORMED as e:
            raise MalformedError(
                "an OCSP response cannot be read", code="certificate.malformed", detail=str(e)
            ) from e

    @property
    def this_update(self) -> int:
        """From when all of it counts."""
        return max(each.this_update for each in self._entries)

    @property
    def next_update(self) -> int:
        """Until when all of it counts."""
        return min(each.next_update for each in self._entries)

    @property
    def serials(self) -> tuple[int, ...]:
        """The serial numbers that it speaks of."""
        return tuple(each.serial for each in self._entries)

    def names(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Tell whether it says anything of a certificate; nobody has checked that it may."""
        return bool(self._about(certificate, issuer))

    def vouches(
        self, certificate: Certificate, issuer: Certificate, algorithms: Collection[str], *, at: int
    ) -> bool:
        """Tell whether it says that a certificate is good; False where it says nothing of it.

        Args:
            certificate: Whose revocation is asked about.
            issuer: Who issued it; already checked.
            algorithms: Object identifiers of the signature algorithms that the profile has.
            at: The instant to judge at.

        Raises:
            EndorsementError: Somebody else signed it (`endorsement.signature`), or the certificate
                is revoked (`endorsement.revoked`).
            UnavailableError: It is from later, or too old (`endorsement.stale`).
        """
        entries = self._about(certificate, issuer)
        if not entries:
            return False
        signer = _signer(self.der, issuer.der, frozenset(algorithms))
        if signer.der != issuer.der:  # whose own validity was checked with his path
            signer.require_valid(at=at)
        if any(each.status is ocsp.OCSPCertStatus.REVOKED for each in entries):
            raise EndorsementError(
                f"the certificate of {certificate.common_name or 'an endorser'} is revoked",
                code="endorsement.revoked",
            )
        for each in entries:
            if not each.this_update <= at <= each.next_update:
                raise UnavailableError(
                    "an OCSP response does not count at that time",
                    code="endorsement.stale",
                    detail=f"{each.this_update} to {each.next_update}, not {at}",
                    hint="fetch endorsements again",
                )
        return all(each.status is ocsp.OCSPCertStatus.GOOD for each in entries)

    def _about(self, certificate: Certificate, issuer: Certificate) -> list[_Entry]:
        return [
            each
            for each in self._entries
            if each.serial == certificate.serial
            and (each.issuer_name, each.issuer_key)
            == _identity(certificate, issuer, each.hash_name)
        ]

    def signer(self, issuer: Certificate, algorithms: Collection[str]) -> Certificate:
        """Return who signed it: the issuer, or a responder that he certified for nothing but that.

        Raises:
            EndorsementError: Somebody else did (`endorsement.signature`).
        """
        wrong = EndorsementError(
            "an OCSP response was not signed for the issuer that it speaks of",
            code="endorsement.signature",
        )
        if self.signature_algorithm not in algorithms:
            raise wrong
        if self._signed_by(issuer):
            return issuer
        for responder in self.responders:
            if self._signed_by(responder) and _answers_only(responder):
                responder.require_issued_by(issuer, algorithms)
                return responder
        raise wrong

    def _signed_by(self, signer: Certificate) -> bool:
        try:
            key = load_der_public_key(signer.public_key)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                return False
            algorithm = ec.ECDSA(_HASHES[self.signature_algorithm])
            key.verify(self._signature, self._signed, algorithm)
        except (InvalidSignature, KeyError, *_MALFORMED):
            return False
        return True


@lru_cache(maxsize=_REMEMBERED)
def _signer(der: bytes, issuer: bytes, algorithms: frozenset[str]) -> Certificate:
    """Return who signed a response; what held is remembered by all of its bytes."""
    return OcspResponse.from_der(der).signer(Certificate.from_der(issuer), algorithms)


def ocsp_request(certificate: Certificate, issuer: Certificate, nonce: bytes) -> bytes:
    """Return a request for the status of one certificate, with a nonce (RFC 9654); DER."""
    return (
        ocsp.OCSPRequestBuilder()
        .add_certificate(
            x509.load_der_x509_certificate(certificate.der),
            x509.load_der_x509_certificate(issuer.der),
            SHA1(),  # noqa: S303  # names the issuer, as every responder knows it; protects nothing
        )
        .add_extension(x509.OCSPNonce(nonce), critical=False)
        .build()
        .public_bytes(Encoding.DER)
    )


def _read(der: bytes) -> OcspResponse:
    parsed = ocsp.load_der_ocsp_response(der)
    if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError("it is an error")
    if any(each.critical for each in parsed.extensions):
        raise ValueError("a critical extension")
    entries = tuple(_entry(each) for each in parsed.responses)
    if not 0 < len(entries) <= _MAX_ENTRIES or len(parsed.certificates) > MAX_PATH:
        raise ValueError("too few or too many entries")
    nonces = [
        each.value.nonce for each in parsed.extensions if isinstance(each.value, x509.OCSPNonce)
    ]
    return OcspResponse(
        der=der,
        responders=tuple(
            Certificate.from_der(each.public_bytes(Encoding.DER)) for each in parsed.certificates
        ),
        signature_algorithm=parsed.signature_algorithm_oid.dotted_string,
        nonce=nonces[0] if nonces else b"",
        _entries=entries,
        _signed=parsed.tbs_response_bytes,
        _signature=parsed.signature,
    )


def _entry(single: ocsp.OCSPSingleResponse) -> _Entry:
    if single.next_update_utc is None:
        raise ValueError("it has no next update")
    return _Entry(
        hash_name=single.hash_algorithm.name,
        issuer_name=single.issuer_name_hash,
        issuer_key=single.issuer_key_hash,
        serial=single.serial_number,
        status=single.certificate_status,
        this_update=int(single.this_update_utc.timestamp()),
        next_update=int(single.next_update_utc.timestamp()),
    )


def _identity(
    certificate: Certificate, issuer: Certificate, hash_name: str
) -> tuple[bytes, bytes] | None:
    """Return the hashes by which a response would name an issuer."""
    # SHA-1 names, and does not protect: a response that names another issuer says nothing here.
    algorithms: dict[str, HashAlgorithm] = {"sha1": SHA1(), "sha256": SHA256()}  # noqa: S303  # names of issuers by hash, not signatures
    if hash_name not in algorithms:
        return None
    request = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(
            x509.load_der_x509_certificate(certificate.der),
            x509.load_der_x509_certificate(issuer.der),
            algorithms[hash_name],
        )
        .build()
    )
    return request.issuer_name_hash, request.issuer_key_hash


def _answers_only(responder: Certificate) -> bool:
    """Whether a certificate is for signing OCSP responses (RFC 6960, 4.2.2.2)."""
    return (
        not responder.ca
        and responder.extensions.get(_EXTENDED_KEY_USAGE)
        == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]).public_bytes()
    )
