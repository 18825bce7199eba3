"""Whether a key service runs what its owner pinned: it attests itself before it gets a secret.

The pinned identity says who answers; evidence over a fresh nonce says in which environment that key
lives now. Both sides of the exchange are here, as functions of their arguments.

Spec: key-release-v1, clauses KR-95 to KR-98.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES
from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.digest import digest_to_text, framed, require_equal, sha512
from cloister.crypto.hpke import PUBLIC_BYTES
from cloister.crypto.signature import VerifyingKey
from cloister.errors import AppraisalError, EvidenceError, MalformedError
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.tee.registry import by_media_type
from cloister.wire import Fields, encode

__all__ = [
    "ATTEST_LABEL",
    "ATTEST_PATH",
    "AttestRequest",
    "ServiceReference",
    "bind_service",
    "require_genuine",
    "require_pinned",
]

ATTEST_PATH: Final = "/v1/attest"
ATTEST_LABEL: Final = b"cloister/key-release/v1/attest"


@dataclass(frozen=True, slots=True)
class AttestRequest:
    """Ask the service to attest itself over the requester's nonce."""

    nonce: bytes

    def __post_init__(self) -> None:
        """Exact length."""
        if len(self.nonce) != NONCE_BYTES:
            raise MalformedError("a nonce has 32 bytes", code="message.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"version": PROTOCOL_VERSION, "nonce": self.nonce})

    @classmethod
    def from_bytes(cls, data: bytes) -> AttestRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="attest request", max_bytes=256)
        fields.constant("version", PROTOCOL_VERSION)
        request = cls(fields.octets("nonce", length=NONCE_BYTES))
        fields.end()
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReference:
    """What the environment of a key service must be; pinned when the domain is made.

    Attributes:
        root_of_trust: Its name in the registry; no other evidence is accepted.
        anchors: The platforms that may vouch.
        measurements: Images of Cloister that are accepted; never empty.
        minimum_svn: Lowest security version of the platform.
        debug: Whether an inspectable platform is accepted.
    """

    root_of_trust: str
    anchors: tuple[VerifyingKey, ...]
    measurements: tuple[bytes, ...]
    minimum_svn: int
    debug: bool

    def __post_init__(self) -> None:
        """Nothing to compare with is never what anybody meant."""
        if not self.anchors or not self.measurements or self.minimum_svn < 0:
            raise MalformedError("a reference names platforms and images", code="message.malformed")


def bind_service(*, service: bytes, hpke_key: bytes, nonce: bytes) -> ReportData:
    """Return the report data of a service's own evidence.

    Args:
        service: Its Ed25519 public key, 32 bytes.
        hpke_key: The key that secrets are sealed to, 1216 bytes.
        nonce: The client's, 32 bytes.
    """
    if (len(service), len(hpke_key), len(nonce)) != (SERVICE_BYTES, PUBLIC_BYTES, NONCE_BYTES):
        raise MalformedError("a part has the wrong length", code="evidence.malformed")
    return ReportData(sha512(framed(ATTEST_LABEL, service, hpke_key, nonce)))


def require_genuine(
    evidence: Evidence,
    reference: ServiceReference,
    *,
    service: bytes,
    hpke_key: bytes,
    nonce: bytes,
    at: int,
) -> Claims:
    """Return what the evidence says, where the service is what was pinned.

    Args:
        evidence: Untrusted.
        reference: Pinned.
        service: The pinned identity.
        hpke_key: The pinned key that a secret is about to be sealed to.
        nonce: The one that was sent.
        at: Now, in seconds since the epoch.

    Raises:
        EvidenceError: Another kind, another request, or the signature does not hold.
        EndorsementError: A platform that is not pinned.
        AppraisalError: Another image, an inspectable or an outdated platform.
        MalformedError: The evidence does not parse.

    Spec: key-release-v1, clauses KR-96 to KR-98.
    """
    expected = bind_service(service=service, hpke_key=hpke_key, nonce=nonce)
    return require_pinned(evidence, reference, bound=expected, at=at)


def require_pinned(
    evidence: Evidence, reference: ServiceReference, *, bound: ReportData, at: int
) -> Claims:
    """Return what the evidence says, where it is bound to this and the environment is pinned.

    Args:
        evidence: Untrusted.
        reference: Pinned.
        bound: The report data of what the evidence was asked for.
        at: Now, in seconds since the epoch.

    Raises:
        EvidenceError: Another kind, another request, or the signature does not hold.
        EndorsementError: A platform that is not pinned.
        AppraisalError: Another image, an inspectable or an outdated platform.
        MalformedError: The evidence does not parse.
    """
    root = by_media_type(evidence.media_type)
    if root.name != reference.root_of_trust:
        raise EvidenceError("evidence of another root of trust", code="evidence.kind")
    claims = root.verifier(reference.anchors).verify(evidence, (), at=at)
    other = EvidenceError("the evidence was made for another request", code="evidence.binding")
    require_equal(claims.report_data, bound.value, error=other)
    _require_environment(claims, reference)
    return claims


def _require_environment(claims: Claims, reference: ServiceReference) -> None:
    if claims.measurement not in reference.measurements:
        raise AppraisalError(
            "the key service runs another image of Cloister than the pinned one",
            code="appraisal.measurement",
            rule="service.measurement",
            expected=", ".join(digest_to_text(each) for each in reference.measurements),
            found=digest_to_text(claims.measurement),
            hint="after an update that you made: restart the service, and pin what this "
            "installation is with cloister keyservice pin",
        )
    if claims.debug and not reference.debug:
        raise AppraisalError(
            "the key service's platform can be inspected from outside",
            code="appraisal.debug",
            rule="service.debug",
            expected="refused",
            found="true",
        )
    if claims.security_version < reference.minimum_svn:
        raise AppraisalError(
            "the key service's platform is older than the pinned version",
            code="appraisal.svn",
            rule="service.minimum_svn",
            expected=f"at least {reference.minimum_svn}",
            found=str(claims.security_version),
        )
