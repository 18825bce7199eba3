"""What a platform shows that wants to bring a key service back, before anybody gives it a share.

It proves by evidence that the pinned image made an HPKE key, and that nobody else has that key: its
private half lies in the request, sealed for that image on that platform. So a request that is sent
again, or kept, is good for nothing but what the image does with shares.

Spec: keyservice-recovery-v1, clauses BR-25 and BR-26.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from cloister.attestation.evidence import Attester, Evidence, ReportData
from cloister.crypto.aead import AEADKey
from cloister.crypto.digest import framed, sha256, sha512
from cloister.crypto.hpke import PUBLIC_BYTES as HPKE_BYTES
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import PUBLIC_BYTES, VerifyingKey
from cloister.errors import EndorsementError, IdentityError, ReleaseDeniedError
from cloister.keyservice.genuine import ServiceReference, require_pinned
from cloister.tee.sim.platform import SimPlatform
from cloister.wire import Fields, encode

__all__ = ["MAX_REQUEST_BYTES", "RecoveringPlatform", "RecoveryRequest", "require_recovering"]

MAX_REQUEST_BYTES: Final = 1 << 17
REQUEST_LABEL: Final = b"cloister/keyservice-recovery/v1/request"
SESSION_PURPOSE: Final = b"cloister/keyservice-recovery/v1/session"
_VERSION: Final = 1
_MAX_SESSION: Final = 512


@dataclass(frozen=True, slots=True)
class RecoveryRequest:
    """Nobody has checked it before `require_recovering`.

    Attributes:
        service: The key service that is to come back.
        platform: Whose evidence it is.
        hpke: Where shares are sealed to.
        session: The private half of that key, for this platform alone.
        evidence: Of the image that made the key.
    """

    service: VerifyingKey
    platform: VerifyingKey
    hpke: HPKEPublicKey
    session: bytes
    evidence: Evidence

    @classmethod
    def make(
        cls, service: VerifyingKey, platform: SimPlatform, attester: Attester
    ) -> RecoveryRequest:
        """Make a key, and evidence of it."""
        private = HPKEPrivateKey.generate()
        sealing = AEADKey(platform.sealing_key(SESSION_PURPOSE))
        session = sealing.seal_random(private.to_secret(), service.raw)
        body = _body(service, platform.anchor, private.public, session)
        evidence = attester.collect(_bound(body))
        return cls(service, platform.anchor, private.public, session, evidence)

    @property
    def body(self) -> bytes:
        """What the evidence is bound to."""
        return _body(self.service, self.platform, self.hpke, self.session)

    @property
    def digest(self) -> bytes:
        """Names it, in shares that are given to it."""
        return sha256(framed(REQUEST_LABEL, self.body))

    def private_key(self, platform: SimPlatform) -> HPKEPrivateKey:
        """Unseal the private half.

        Raises:
            ReleaseDeniedError: It was made on another platform, or changed (`recovery.share`).
        """
        error = ReleaseDeniedError(
            "this recovery was begun on another platform", code="recovery.share"
        )
        sealing = AEADKey(platform.sealing_key(SESSION_PURPOSE))
        private = HPKEPrivateKey(sealing.open_random(self.session, self.service.raw, error=error))
        if private.public.raw != self.hpke.raw or platform.anchor != self.platform:
            raise error
        return private

    def to_bytes(self) -> bytes:
        """Return the file."""
        return encode({"body": self.body, "evidence": self.evidence.to_bytes()})

    @classmethod
    def from_bytes(cls, data: bytes) -> RecoveryRequest:
        """Read from untrusted bytes."""
        outer = Fields.decode(data, what="recovery request", max_bytes=MAX_REQUEST_BYTES)
        body = outer.octets("body")
        evidence = Evidence.from_bytes(outer.octets("evidence", max_length=MAX_REQUEST_BYTES))
        outer.end()
        fields = Fields.decode(body, what="recovery request", max_bytes=MAX_REQUEST_BYTES)
        fields.constant("version", _VERSION)
        request = cls(
            VerifyingKey(fields.octets("service", length=PUBLIC_BYTES)),
            VerifyingKey(fields.octets("platform", length=PUBLIC_BYTES)),
            HPKEPublicKey(fields.octets("hpke", length=HPKE_BYTES)),
            fields.octets("session", max_length=_MAX_SESSION),
            evidence,
        )
        fields.end()
        return request


@dataclass(frozen=True, slots=True)
class RecoveringPlatform:
    """A platform that proved to run the pinned image: made by `require_recovering` only.

    Attributes:
        service: The key service that it brings back.
        hpke: Where shares are sealed to.
        request: Digest of its request.
    """

    service: VerifyingKey
    hpke: HPKEPublicKey
    request: bytes


def require_recovering(
    request: RecoveryRequest, reference: ServiceReference, *, service: VerifyingKey, at: int
) -> RecoveringPlatform:
    """Return who asks for shares, where that is the pinned image on a pinned platform.

    Args:
        request: Untrusted.
        reference: Pinned.
        service: The pinned identity of the key service.
        at: Now, in seconds since the epoch.

    Raises:
        IdentityError: It is about another service (`identity.keyservice`).
        EndorsementError: A platform that is not pinned (`endorsement.anchor`).
        EvidenceError: Another kind, another request, or the signature does not hold.
        AppraisalError: Another image, an inspectable or an outdated platform.
        MalformedError: The evidence does not parse.
    """
    if request.service != service:
        raise IdentityError("another key service is to be brought back", code="identity.keyservice")
    if request.platform not in reference.anchors:
        raise EndorsementError(
            "the platform that asks for shares is not pinned",
            code="endorsement.anchor",
            hint="if the owner says that it is the new one: cloister keyservice pin-platform",
        )
    only = replace(reference, anchors=(request.platform,))
    require_pinned(request.evidence, only, bound=_bound(request.body), at=at)
    return RecoveringPlatform(service, request.hpke, request.digest)


def _body(
    service: VerifyingKey, platform: VerifyingKey, hpke: HPKEPublicKey, session: bytes
) -> bytes:
    return encode(
        {
            "version": _VERSION,
            "service": service.raw,
            "platform": platform.raw,
            "hpke": hpke.raw,
            "session": session,
        }
    )


def _bound(body: bytes) -> ReportData:
    return ReportData(sha512(framed(REQUEST_LABEL, body)))
