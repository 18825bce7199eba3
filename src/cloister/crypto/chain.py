"""X.509 as manufacturers use it: certificates, paths to a pinned root, revocation lists.

Manufacturers' profiles differ in what other readers insist on (key identifiers, names for hosts,
purposes), and agree in what matters here: who signed whom with what, from when to when, what may
sign, what is revoked. Everything is read when it is parsed; nothing later raises a library's error.

Invariants:
    1. A path ends in a root whose SHA-256 the caller pinned; no system store is ever asked.
    2. The caller names the signature algorithms that a profile has; there is no default.
    3. A critical extension that nobody here understands makes a certificate useless.
"""

from __future__ import annotations

import base64
import datetime as dt
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.crypto.digest import sha256
from cloister.errors import EndorsementError, MalformedError, UnavailableError

__all__ = [
    "ECDSA_SHA256",
    "ECDSA_SHA384",
    "MAX_CERTIFICATE_BYTES",
    "MAX_CRL_BYTES",
    "MAX_PATH",
    "RSA_PKCS1_SHA256",
    "RSA_PKCS1_SHA384",
    "RSA_PSS",
    "UNREADABLE",
    "Certificate",
    "RevocationList",
    "read_pem_chain",
    "read_plain_chain",
    "require_path",
    "to_pem",
]

MAX_CERTIFICATE_BYTES: Final = 16384
MAX_CRL_BYTES: Final = 1 << 20
MAX_PATH: Final = 8

ECDSA_SHA256: Final = "1.2.840.10045.4.3.2"
ECDSA_SHA384: Final = "1.2.840.10045.4.3.3"
RSA_PKCS1_SHA256: Final = "1.2.840.113549.1.1.11"
RSA_PKCS1_SHA384: Final = "1.2.840.113549.1.1.12"
RSA_PSS: Final = "1.2.840.113549.1.1.10"

# Critical extensions that `require_path` gives their meaning.
_UNDERSTOOD: Final = frozenset({"2.5.29.15", "2.5.29.19"})
_PEM_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_PEM_END: Final = b"-----END CERTIFICATE-----"
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
# The library warns of a name whose lengths X.520 does not have, and reads it; where warnings are
# errors, that one would escape. A warning is no verdict: here such a name is malformed, always.
warnings.filterwarnings("error", message="Attribute's length must be", category=UserWarning)
# What the library raises at bytes that it cannot read, or of a kind that it does not know.
UNREADABLE: Final = (
    UserWarning,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """One certificate, parsed; nobody has checked its signature yet.

    Attributes:
        der: Its bytes.
        subject: DER of the subject's name.
        issuer: DER of the issuer's name.
        common_name: The subject's, empty where it has none; what cannot be printed is replaced.
        serial: Serial number.
        not_before: First second of its validity, since the epoch.
        not_after: Last second of it.
        public_key: DER SubjectPublicKeyInfo.
        signature_algorithm: Object identifier.
        signature_hash: Its hash, such as `sha384`; empty where the algorithm has none of its own.
        ca: Whether basic constraints call it an authority.
        path_length: How many authorities may follow it; None for any.
        signs_certificates: Whether its key usage allows that; None where it has no key usage.
        signs_lists: The same for revocation lists.
        extensions: Object identifier to the extension's DER value.
        critical: Object identifiers of those marked critical.
    """

    der: bytes
    subject: bytes
    issuer: bytes
    common_name: str
    serial: int
    not_before: int
    not_after: int
    public_key: bytes
    signature_algorithm: str
    signature_hash: str
    ca: bool
    path_length: int | None
    signs_certificates: bool | None
    signs_lists: bool | None
    extensions: Mapping[str, bytes]
    critical: frozenset[str]
    _parsed: x509.Certificate = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the DER bytes: what is pinned of a root."""
        return sha256(self.der)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no certificate of at most `MAX_CERTIFICATE_BYTES`.
        """
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise MalformedError("a certificate is too long", code="certificate.malformed")
        try:
            return _read_certificate(der)
        except UNREADABLE as e:
            raise MalformedError(
                "a certificate cannot be read", code="certificate.malformed", detail=str(e)
            ) from e

    def require_issued_by(self, issuer: Certificate, algorithms: Collection[str]) -> None:
        """Check name and signature, with one of the algorithms that the profile has.

        Raises:
            EndorsementError: It was not (`endorsement.signature`).
        """
        wrong = EndorsementError(
            "a certificate was not issued by the one above it",
            code="endorsement.signature",
            detail=f"{self.common_name} by {issuer.common_name}",
        )
        if self.signature_algorithm not in algorithms:
            raise wrong
        try:
            issuer.require_issued(self._parsed)
        except (InvalidSignature, *UNREADABLE) as e:
            raise wrong from e

    def require_issued(self, certificate: x509.Certificate) -> None:
        """Raise a library's error unless this one issued it; for this module."""
        certificate.verify_directly_issued_by(self._parsed)

    def signed(self, revocations: x509.CertificateRevocationList) -> bool:
        """Tell whether its key signed a list, or raise a library's error; for this module."""
        key = self._parsed.public_key()
        return isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)) and (
            revocations.is_signature_valid(key)
        )

    def require_valid(self, *, at: int) -> None:
        """Check that an instant is in its validity, both ends included.

        Raises:
            EndorsementError: It is not (`endorsement.expired`).
        """
        if not self.not_before <= at <= self.not_after:
            raise EndorsementError(
                f"the certificate of {self.common_name or 'an endorser'} is not valid at that time",
                code="endorsement.expired",
                detail=f"{self.not_before} to {self.not_after}, not {at}",
            )


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """A certificate revocation list, parsed; nobody has checked its signature yet.

    Attributes:
        der: Its bytes.
        issuer: DER of the issuer's name.
        issuer_common_name: Its common name, empty where it has none; printable.
        this_update: When it was made.
        next_update: Until when it counts.
        revoked: Serial numbers.
        signature_algorithm: Object identifier.
        signature_hash: Its hash, such as `sha384`; empty where the algorithm has none of its own.
    """

    der: bytes
    issuer: bytes
    issuer_common_name: str
    this_update: int
    next_update: int
    revoked: frozenset[int]
    signature_algorithm: str
    signature_hash: str
    _parsed: x509.CertificateRevocationList = field(repr=False)

    @classmethod
    def from_der(cls, der: bytes) -> RevocationList:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no list of at most `MAX_CRL_BYTES`, it has no next update, or
                a critical extension that nobody here understands.
        """
        if len(der) > MAX_CRL_BYTES:
            raise MalformedError("a revocation list is too long", code="certificate.malformed")
        try:
            return _read_list(der)
        except UNREADABLE as e:
            raise MalformedError(
                "a revocation list cannot be read", code="certificate.malformed", detail=str(e)
            ) from e

    def require_from(self, issuer: Certificate, algorithms: Collection[str], *, at: int) -> None:
        """Check who signed it, and that it counts at an instant.

        Raises:
            EndorsementError: Somebody else signed it (`endorsement.signature`).
            UnavailableError: It is from later, or too old (`endorsement.stale`).
        """
        wrong = EndorsementError(
            "a revocation list was not signed by its issuer", code="endorsement.signature"
        )
        if self.issuer != issuer.subject or self.signature_algorithm not in algorithms:
            raise wrong
        if issuer.signs_lists is False:
            raise wrong
        try:
            genuine = issuer.signed(self._parsed)
        except UNREADABLE as e:
            raise wrong from e
        if not genuine:
            raise wrong
        self.require_current(at=at)

    def require_current(self, *, at: int) -> None:
        """Check that it counts at an instant, both ends included.

        Raises:
            UnavailableError: It is from later, or too old (`endorsement.stale`).
        """
        if not self.this_update <= at <= self.next_update:
            raise UnavailableError(
                "a revocation list does not count at that time",
                code="endorsement.stale",
                detail=f"{self.this_update} to {self.next_update}, not {at}",
                hint="fetch endorsements again",
            )

    def require_not_revoked(self, certificate: Certificate) -> None:
        """Check a certificate of the same issuer.

        Raises:
            EndorsementError: It is revoked (`endorsement.revoked`), or another issuer's
                (`endorsement.mismatch`): this list says nothing about it.
        """
        if certificate.issuer != self.issuer:
            raise EndorsementError(
                "a revocation list is another issuer's", code="endorsement.mismatch"
            )
        if certificate.serial in self.revoked:
            raise EndorsementError(
                f"the certificate of {certificate.common_name or 'an endorser'} is revoked",
                code="endorsement.revoked",
            )


def read_pem_chain(text: bytes, *, max_certificates: int = MAX_PATH) -> list[Certificate]:
    """Read certificates that follow each other as PEM, in their order.

    Raises:
        MalformedError: None, too many, or one that cannot be read.
    """
    wrong = MalformedError("not a chain of PEM certificates", code="certificate.malformed")
    if not 0 < text.count(_PEM_BEGIN) <= max_certificates:
        raise wrong
    if len(text) > 2 * MAX_CERTIFICATE_BYTES * max_certificates:
        raise wrong
    try:
        parsed = x509.load_pem_x509_certificates(text)
        return [Certificate.from_der(each.public_bytes(Encoding.DER)) for each in parsed]
    except UNREADABLE as e:
        raise wrong from e


def read_plain_chain(text: bytes, *, max_certificates: int = MAX_PATH) -> list[Certificate]:
    """Read certificates that are written as `to_pem` writes them, but for the last line feed.

    For chains that are part of evidence: one chain has one text, so that nothing can be put into it
    that nobody reads.

    Raises:
        MalformedError: As `read_pem_chain`, or they are written in another way.
    """
    found = read_pem_chain(text, max_certificates=max_certificates)
    plain = to_pem(each.der for each in found)
    if text not in (plain, plain[:-1]):
        raise MalformedError("a chain is not plain PEM", code="certificate.malformed")
    return found


def to_pem(certificates: Iterable[bytes]) -> bytes:
    """Write DER certificates as PEM, one after the other."""
    lines: list[bytes] = []
    for der in certificates:
        text = base64.b64encode(der)
        lines += [_PEM_BEGIN, *(text[at : at + 64] for at in range(0, len(text), 64)), _PEM_END]
    return b"\n".join([*lines, b""])


def require_path(
    path: Sequence[Certificate],
    *,
    anchors: Collection[bytes],
    algorithms: Collection[str],
    at: int,
    understood: Collection[str] = (),
) -> bytes:
    """Check a path from a leaf to its root; returns the root's fingerprint.

    Args:
        path: The leaf first, its root last.
        anchors: SHA-256 of each root certificate that the caller accepts.
        algorithms: Object identifiers of the signature algorithms that the profile has.
        at: The instant to judge at, in seconds since the epoch.
        understood: Critical extensions whose meaning the caller checks.

    Raises:
        EndorsementError: The root is not pinned (`endorsement.anchor`), a certificate is not valid
            then (`endorsement.expired`), stands twice, was not issued by the next, or may not
            issue (`endorsement.signature`).
    """
    if not 0 < len(path) <= MAX_PATH or path[-1].fingerprint not in anchors:
        raise EndorsementError(
            "the certificates do not lead to a root that is accepted", code="endorsement.anchor"
        )
    if len({certificate.der for certificate in path}) != len(path):
        raise EndorsementError("a certificate stands twice in a path", code="endorsement.signature")
    known = _UNDERSTOOD.union(understood)
    for depth, certificate in enumerate(path):
        issuer = path[min(depth + 1, len(path) - 1)]
        certificate.require_valid(at=at)
        certificate.require_issued_by(issuer, algorithms)
        problem = _unfit(certificate, depth, known)
        if problem:
            raise EndorsementError(
                "a certificate may not stand where it does in its path",
                code="endorsement.signature",
                detail=f"{certificate.common_name}: {problem}",
            )
    return path[-1].fingerprint


def _unfit(certificate: Certificate, depth: int, known: Collection[str]) -> str:
    """Say why a certificate may not have `depth` certificates below it; empty where it may."""
    if not certificate.critical <= set(known):
        return "a critical extension that is not understood"
    if depth == 0:
        return ""
    if not certificate.ca or certificate.signs_certificates is False:
        return "it is no authority"
    if certificate.path_length is not None and certificate.path_length < depth - 1:
        return "too many authorities below it"
    return ""


def _read_certificate(der: bytes) -> Certificate:
    parsed = x509.load_der_x509_certificate(der)
    key, extensions = parsed.public_key(), parsed.extensions
    basic = _first(extensions, x509.BasicConstraints)
    usage = _first(extensions, x509.KeyUsage)
    names = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Certificate(
        der=der,
        subject=parsed.subject.public_bytes(),
        issuer=parsed.issuer.public_bytes(),
        common_name=_printable(str(names[0].value)) if names else "",
        serial=parsed.serial_number,
        not_before=_seconds(parsed.not_valid_before_utc),
        not_after=_seconds(parsed.not_valid_after_utc),
        public_key=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        signature_algorithm=parsed.signature_algorithm_oid.dotted_string,
        signature_hash=_hash_name(parsed.signature_hash_algorithm),
        ca=basic is not None and basic.ca,
        path_length=None if basic is None else basic.path_length,
        signs_certificates=None if usage is None else usage.key_cert_sign,
        signs_lists=None if usage is None else usage.crl_sign,
        extensions=MappingProxyType(
            {each.oid.dotted_string: each.value.public_bytes() for each in extensions}
        ),
        critical=frozenset(each.oid.dotted_string for each in extensions if each.critical),
        _parsed=parsed,
    )


def _read_list(der: bytes) -> RevocationList:
    parsed = x509.load_der_x509_crl(der)
    if parsed.next_update_utc is None:
        raise ValueError("it has no next update")
    if any(each.critical for each in parsed.extensions):
        raise ValueError("a critical extension")
    names = parsed.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return RevocationList(
        der=der,
        issuer=parsed.issuer.public_bytes(),
        issuer_common_name=_printable(str(names[0].value)) if names else "",
        this_update=_seconds(parsed.last_update_utc),
        next_update=_seconds(parsed.next_update_utc),
        revoked=frozenset(_serials(parsed)),
        signature_algorithm=parsed.signature_algorithm_oid.dotted_string,
        signature_hash=_hash_name(parsed.signature_hash_algorithm),
        _parsed=parsed,
    )


def _serials(parsed: x509.CertificateRevocationList) -> Iterator[int]:
    for entry in parsed:
        if any(each.critical for each in entry.extensions):
            raise ValueError("a critical extension of an entry")
        yield entry.serial_number


def _first(extensions: x509.Extensions, kind: type[_Kind]) -> _Kind | None:
    return next((each.value for each in extensions if isinstance(each.value, kind)), None)


def _hash_name(algorithm: HashAlgorithm | None) -> str:
    return "" if algorithm is None else algorithm.name


def _printable(text: str) -> str:
    """Keep what a certificate says of itself from breaking a line of a log or a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _seconds(instant: dt.datetime) -> int:
    return int(instant.timestamp())
