"""Short-lived X.509 certificates with a SPIFFE URI (design D3), and the CA that signs them.

A certificate names one workload instance:
`spiffe://<trust domain>/<namespace path>/<policy>/<role>/<instance>`, read from the right: the last
three segments are policy, role and instance, the 1 to 4 before them the namespace. Keys are ECDSA
P-256, which every TLS 1.3 library accepts. A non-critical extension (OID `POLICY_OID`) carries
canonical CBOR `{policy: 32-byte policy hash, hardware_rooted: bool}`, signed by the CA like the
rest.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloister.crypto.chain import UNREADABLE
from cloister.crypto.digest import DIGEST_BYTES, sha256
from cloister.errors import CloisterError, IdentityError, MalformedError
from cloister.wire import Fields, encode

__all__ = [
    "POLICY_OID",
    "CertificateAuthority",
    "Identity",
    "PeerCertificate",
    "TLSKey",
    "identity_of",
    "key_usage",
    "read_peer_certificate",
    "require_authorities",
]

POLICY_OID: Final = "2.25.273391094283751906240812377641329012477"
BACKDATE_S: Final = 300  # not_before lies this far back, so that a slow clock still accepts
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAMESPACE_DEPTH: Final = 4
_TAIL: Final = 3  # policy, role, instance
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_MAX_CERTIFICATE_BYTES: Final = 16384


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """Return what a key may do: sign certificates and lists, or sign for itself, and no more."""
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# What every leaf has alike.
_NO_NAME: Final = x509.Name([])
_ATTESTED_NAME: Final = x509.Name(
    [x509.NameAttribute(NameOID.COMMON_NAME, "attested by its own evidence")]
)
_LEAF: Final = x509.BasicConstraints(ca=False, path_length=None)
_LEAF_USAGE: Final = key_usage(ca=False)
_LEAF_PURPOSES: Final = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)
_POLICY_OID: Final = x509.ObjectIdentifier(POLICY_OID)


@dataclass(frozen=True, slots=True)
class Identity:
    """A SPIFFE ID cut into its parts; an instance of `*` matches any, in expectations only."""

    trust_domain: str
    namespace: str
    policy: str
    role: str
    instance: str

    def __post_init__(self) -> None:
        """Refuse parts that could be read as other parts."""
        path = self.namespace.split("/")
        parts = (*path, self.policy, self.role)
        good = len(path) <= _NAMESPACE_DEPTH
        good = good and all(_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in parts)
        good = good and (self.instance == "*" or _SEGMENT.fullmatch(self.instance) is not None)
        if not good or not _DOMAIN.fullmatch(self.trust_domain):
            raise MalformedError(
                f"not a SPIFFE ID of ours: {self.uri}", code="certificate.malformed"
            )

    @property
    def uri(self) -> str:
        """The SPIFFE ID as a URI."""
        path = "/".join((self.namespace, self.policy, self.role, self.instance))
        return f"spiffe://{self.trust_domain}/{path}"

    @classmethod
    def from_uri(cls, uri: str) -> Identity:
        """Read a URI from the right: instance, role, policy, and a namespace of 1 to 4 names."""
        domain, *path = uri.removeprefix("spiffe://").split("/")
        if not uri.startswith("spiffe://") or not 1 <= len(path) - _TAIL <= _NAMESPACE_DEPTH:
            raise MalformedError("not a SPIFFE ID of ours", code="certificate.malformed")
        policy, role, instance = path[-_TAIL:]
        return cls(domain, "/".join(path[:-_TAIL]), policy, role, instance)

    def require_matches(self, found: Identity) -> None:
        """Raise unless `found` is this identity (or this one says any instance)."""
        wanted = (self.trust_domain, self.namespace, self.policy, self.role)
        got = (found.trust_domain, found.namespace, found.policy, found.role)
        if wanted != got or (self.instance not in {"*", found.instance}):
            raise IdentityError(
                f"the peer proved to be {found.uri}, not {self.uri}", code="identity.peer"
            )


class TLSKey:
    """A P-256 key for one instance's certificate."""

    __slots__ = ("_key",)

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Wrap a key of the underlying library."""
        self._key = key

    @classmethod
    def generate(cls) -> TLSKey:
        """Make a fresh key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def pem(self) -> bytes:
        """Return the private key as PKCS#8 PEM: a secret."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public_key_info(self) -> bytes:
        """Return the public key as DER SubjectPublicKeyInfo."""
        public = self._key.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def self_signed(self, *, extension: str, value: bytes, at: int, lifetime_s: int) -> bytes:
        """Return a certificate that this key signs for itself, with one extension, as PEM.

        It names nobody and proves nothing but possession of the key: what it is worth is in the
        extension (spec: evidence-interop-v1).

        Args:
            extension: Object identifier.
            value: The extension's value; it is not marked critical.
            at: Now, in seconds since the epoch.
            lifetime_s: How long it is good for.

        Raises:
            MalformedError: It would be longer than certificates are read (`certificate.malformed`).
        """
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_ATTESTED_NAME)
            .issuer_name(_ATTESTED_NAME)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_instant(at - BACKDATE_S))
            .not_valid_after(_instant(at + lifetime_s))
            .add_extension(_LEAF, critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(_LEAF_PURPOSES, critical=False)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(extension), value), critical=False
            )
            .sign(self._key, SHA256())
        )
        if len(certificate.public_bytes(Encoding.DER)) > _MAX_CERTIFICATE_BYTES:
            raise MalformedError("the certificate would be too large", code="certificate.malformed")
        return certificate.public_bytes(Encoding.PEM)

    def request(self) -> bytes:
        """Return a DER certificate request that proves possession and asks for no name.

        The name is the key service's to give.
        """
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a verified certificate of ours says."""

    identity: Identity
    policy_hash: bytes
    hardware_rooted: bool
    not_before: int
    not_after: int
    spki_digest: bytes


class CertificateAuthority:
    """The trust domain's CA. Its key never leaves the key service."""

    def __init__(self, key_der: bytes, certificate_der: bytes) -> None:
        """Load from its sealed state (`to_secret`)."""
        key = load_der_private_key(key_der, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise MalformedError("the CA key is not an EC key", code="certificate.malformed")
        self._key = key
        self._certificate = x509.load_der_x509_certificate(certificate_der)
        # The same in every certificate that it signs, and slow to build.
        self._subject: Final = self._certificate.subject
        self._key_identifier: Final = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            key.public_key()
        )
        self.certificate_pem: Final = self._certificate.public_bytes(Encoding.PEM)

    @classmethod
    def create(cls, *, trust_domain: str, at: int, lifetime_s: int) -> CertificateAuthority:
        """Make a new CA whose name constraint is the trust domain."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} workload CA"[:64])]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_instant(at - BACKDATE_S))
            .not_valid_after(_instant(at + lifetime_s))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(ca=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, SHA256())
        )
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return cls(der, certificate.public_bytes(Encoding.DER))

    def to_secret(self) -> tuple[bytes, bytes]:
        """Return (private key DER, certificate DER) for sealing."""
        der = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return der, self._certificate.public_bytes(Encoding.DER)

    def issue(
        self,
        request_der: bytes,
        identity: Identity,
        *,
        policy_hash: bytes,
        hardware_rooted: bool,
        at: int,
        lifetime_s: int,
    ) -> bytes:
        """Sign a certificate for the key in `request_der`; every name in it is ours.

        Args:
            request_der: Untrusted; only its key and proof of possession are used.
            identity: Who the holder is, as the policy decided. Its instance is not `*`.
            policy_hash: SHA-256 of the canonical policy that admitted it.
            hardware_rooted: False for `sim`; shown to every peer.
            at: Now, in seconds since the epoch.
            lifetime_s: How long it is good for.

        Returns:
            The certificate as PEM.

        Raises:
            MalformedError: The request does not parse or does not prove possession.
        """
        if identity.instance == "*":
            raise MalformedError("an instance has a name", code="certificate.malformed")
        public = _read_request(request_der)
        note = encode({"policy": policy_hash, "hardware_rooted": hardware_rooted})
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_NO_NAME)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_instant(at - BACKDATE_S))
            .not_valid_after(_instant(at + lifetime_s))
            .add_extension(_LEAF, critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(_LEAF_PURPOSES, critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]),
                critical=True,
            )
            .add_extension(self._key_identifier, critical=False)
            .add_extension(x509.UnrecognizedExtension(_POLICY_OID, note), critical=False)
            .sign(self._key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)


def read_peer_certificate(leaf_der: bytes, *, ca_pem: bytes, at: int) -> PeerCertificate:
    """Verify a peer's leaf against the pinned CA and return what it says.

    TLS has checked possession of the key; this repeats the chain check so that no TLS
    configuration can weaken it.

    Raises:
        IdentityError: Not signed by this CA, or not valid at `at` (code `identity.clock`).
        MalformedError: Signed by the CA, yet not of our profile.
    """
    if len(leaf_der) > _MAX_CERTIFICATE_BYTES:
        raise MalformedError("certificate too large", code="certificate.malformed")
    try:
        leaf = x509.load_der_x509_certificate(leaf_der)
        ca = x509.load_pem_x509_certificate(ca_pem)
        leaf.verify_directly_issued_by(ca)
    except (*UNREADABLE, InvalidSignature) as e:
        raise IdentityError(
            "the peer's certificate was not issued by the pinned authority", code="identity.tls"
        ) from e
    first = int(leaf.not_valid_before_utc.timestamp())
    last = int(leaf.not_valid_after_utc.timestamp())
    if not first <= at <= last:
        raise IdentityError(
            f"the peer's certificate is valid from {leaf.not_valid_before_utc:%F %T} to "
            f"{leaf.not_valid_after_utc:%F %T} UTC, and this clock says {_instant(at):%F %T}",
            code="identity.clock",
            hint="compare this machine's clock with the key service's",
        )
    identity, policy_hash, rooted = _read_profile(leaf)
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PeerCertificate(identity, policy_hash, rooted, first, last, sha256(spki))


def identity_of(certificate_pem: bytes) -> Identity:
    """Return who a certificate of one's own says that one is. Nothing is verified.

    Raises:
        MalformedError: It is none of our profile (`certificate.malformed`).
    """
    try:
        leaf = x509.load_pem_x509_certificate(certificate_pem)
    except UNREADABLE as e:
        raise MalformedError("not a certificate in PEM", code="certificate.malformed") from e
    return _read_profile(leaf)[0]


def require_authorities(pem: bytes) -> None:
    """Raise unless these are certificates in PEM, at least one, of whatever issuer.

    Raises:
        MalformedError: They are not (`certificate.malformed`).
    """
    try:
        pem.decode("ascii")
        x509.load_pem_x509_certificates(pem)
    except UNREADABLE as e:
        raise MalformedError("not a CA certificate in PEM", code="certificate.malformed") from e


def _read_profile(leaf: x509.Certificate) -> tuple[Identity, bytes, bool]:
    error: CloisterError = MalformedError(
        "the certificate is not of Cloister's profile", code="certificate.malformed"
    )
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        note = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(POLICY_OID)).value
    except (x509.ExtensionNotFound, *UNREADABLE) as e:
        raise error from e
    if len(list(names)) != 1 or len(uris) != 1 or not isinstance(note, x509.UnrecognizedExtension):
        raise error
    fields = Fields.decode(note.value, what="certificate note", max_bytes=256)
    policy_hash = fields.octets("policy", length=DIGEST_BYTES)
    rooted = fields.boolean("hardware_rooted")
    fields.end()
    return Identity.from_uri(uris[0]), policy_hash, rooted


def _read_request(request_der: bytes) -> ec.EllipticCurvePublicKey:
    error = MalformedError("not a certificate request of ours", code="certificate.malformed")
    if len(request_der) > _MAX_CERTIFICATE_BYTES:
        raise error
    try:
        request = x509.load_der_x509_csr(request_der)
        public = request.public_key()
        valid = request.is_signature_valid
    except UNREADABLE as e:
        raise error from e
    if not valid or not isinstance(public, ec.EllipticCurvePublicKey):
        raise error
    if not isinstance(public.curve, ec.SECP256R1):
        raise error
    return public


def _instant(at: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC)
