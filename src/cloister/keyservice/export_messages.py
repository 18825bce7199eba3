"""A secret from one key service to another, as messages: what is asked for, by whom, and the grant.

The request's bytes name everything that decides; the importing service's evidence and its signature
both cover them. So neither can be used for another secret, exporter, importer or key.

Spec: secret-export-v1, clauses EXP-10 to EXP-16.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES
from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence, ReportData
from cloister.crypto.digest import framed, sha256, sha512
from cloister.crypto.hpke import PUBLIC_BYTES as HPKE_PUBLIC_BYTES
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import EvidenceError, MalformedError
from cloister.keyservice.log import Receipt
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.keyservice.namespaces import ROOT, require_namespace
from cloister.keyservice.secret_messages import MAX_SECRET_BYTES
from cloister.wire import Fields, encode

__all__ = [
    "EXPORT_CHALLENGE_LABEL",
    "EXPORT_CHALLENGE_PATH",
    "EXPORT_EVIDENCE_LABEL",
    "EXPORT_OPERATION",
    "EXPORT_PARTS",
    "EXPORT_PATH",
    "EXPORT_REQUEST_LABEL",
    "EXPORT_VALUE_LABEL",
    "MAX_EXPORT_LIFETIME_S",
    "MIN_EXPORT_LIFETIME_S",
    "ExportGrant",
    "ExportRequest",
    "SignedExportRequest",
    "export_info",
]

EXPORT_CHALLENGE_PATH: Final = "/v1/export-challenge"
EXPORT_PATH: Final = "/v1/export"
EXPORT_OPERATION: Final = "secret.export"
EXPORT_CHALLENGE_LABEL: Final = b"cloister/secret-export/v1/challenge"
EXPORT_REQUEST_LABEL: Final = b"cloister/secret-export/v1/request"
EXPORT_EVIDENCE_LABEL: Final = b"cloister/secret-export/v1/evidence"
EXPORT_VALUE_LABEL: Final = b"cloister/secret-export/v1/value"
EXPORT_PARTS: Final = ("", "private", "public", "certificate")
MIN_EXPORT_LIFETIME_S: Final = 600
MAX_EXPORT_LIFETIME_S: Final = 31_536_000
_MAX_EPOCH: Final = 999_999_999
_MAX_BODY: Final = 8192
_MAX_GRANT: Final = 2 * MAX_SECRET_BYTES
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What one key service wants of another, and for whom.

    Attributes:
        service: The exporting key service that is meant, as pinned.
        nonce: From its challenge for exports.
        namespace: Of its policy that has the secret.
        policy: That policy's name.
        secret: The secret's name there.
        epoch: Which of its values.
        part: Which part of it; empty for the value itself.
        importer: The importing service's identity, whose signature this carries.
        trust_domain: The importing service's.
        to_namespace: Of the policy that the value is for.
        to_policy: That policy's name.
        hpke_key: Made for this request; the value is sealed to it.
    """

    service: bytes
    nonce: bytes
    namespace: str
    policy: str
    secret: str
    epoch: int
    part: str
    importer: bytes
    trust_domain: str
    to_namespace: str
    to_policy: str
    hpke_key: bytes

    def __post_init__(self) -> None:
        """Exact lengths, names as policies write them."""
        lengths = (len(self.service), len(self.nonce), len(self.importer), len(self.hpke_key))
        if lengths != (SERVICE_BYTES, NONCE_BYTES, SERVICE_BYTES, HPKE_PUBLIC_BYTES):
            raise _malformed("an export request has fixed lengths")
        for namespace in (self.namespace, self.to_namespace):
            if require_namespace(namespace) == ROOT:
                raise _malformed("a policy has a namespace of its own")
        if not all(_NAME.fullmatch(name) for name in (self.policy, self.secret, self.to_policy)):
            raise _malformed("not the name of a policy or a secret")
        if _DOMAIN.fullmatch(self.trust_domain) is None or self.part not in EXPORT_PARTS:
            raise _malformed("not a trust domain, or not a part of a secret")
        if not 1 <= self.epoch <= _MAX_EPOCH:
            raise _malformed("not an epoch")

    @property
    def label(self) -> str:
        """How both services' logs name the secret."""
        return f"{self.namespace}/{self.policy}/{self.secret}@{self.epoch}"

    def report_data(self) -> ReportData:
        """Return what the importing service's evidence must have bound: all of this."""
        return ReportData(sha512(framed(EXPORT_EVIDENCE_LABEL, self.to_bytes())))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "service": self.service,
                "nonce": self.nonce,
                "namespace": self.namespace,
                "policy": self.policy,
                "secret": self.secret,
                "epoch": self.epoch,
                "part": self.part,
                "importer": self.importer,
                "trust_domain": self.trust_domain,
                "to_namespace": self.to_namespace,
                "to_policy": self.to_policy,
                "hpke_key": self.hpke_key,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ExportRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="export request", max_bytes=_MAX_BODY)
        fields.constant("version", PROTOCOL_VERSION)
        request = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            namespace=fields.text("namespace", max_length=255),
            policy=fields.text("policy", max_length=63),
            secret=fields.text("secret", max_length=63),
            epoch=fields.integer("epoch", minimum=1, maximum=_MAX_EPOCH),
            part=fields.text("part", max_length=32),
            importer=fields.octets("importer", length=SERVICE_BYTES),
            trust_domain=fields.text("trust_domain", max_length=62),
            to_namespace=fields.text("to_namespace", max_length=255),
            to_policy=fields.text("to_policy", max_length=63),
            hpke_key=fields.octets("hpke_key", length=HPKE_PUBLIC_BYTES),
        )
        fields.end()
        return request

    def signed(self, evidence: Evidence, key: SigningKey) -> SignedExportRequest:
        """Sign it, with the evidence that binds it."""
        body, envelope = self.to_bytes(), evidence.to_bytes()
        signature = key.sign(EXPORT_REQUEST_LABEL, framed(body, envelope))
        return SignedExportRequest(body, envelope, signature)


@dataclass(frozen=True, slots=True)
class SignedExportRequest:
    """An export request's bytes, evidence, and a signature; nobody has checked any of it yet."""

    body: bytes
    evidence: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "evidence": self.evidence, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedExportRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="signed export request", max_bytes=2 * MAX_EVIDENCE_BYTES)
        signed = cls(
            body=fields.octets("body", max_length=_MAX_BODY),
            evidence=fields.octets("evidence", max_length=MAX_EVIDENCE_BYTES + 512),
            signature=fields.octets("signature", length=SIGNATURE_BYTES),
        )
        fields.end()
        return signed

    def open(self) -> tuple[ExportRequest, Evidence]:
        """Return request and evidence, where the importer that the request names signed both.

        Whether that importer may have anything is not settled by this.

        Raises:
            EvidenceError: Another signer, or one changed bit (`evidence.signature`).
            MalformedError: It does not parse.
        """
        request = ExportRequest.from_bytes(self.body)
        evidence = Evidence.from_bytes(self.evidence)
        VerifyingKey(request.importer).verify(
            EXPORT_REQUEST_LABEL,
            framed(self.body, self.evidence),
            self.signature,
            error=EvidenceError(
                "the request was not signed by the key service that it names",
                code="evidence.signature",
            ),
        )
        return request, evidence


@dataclass(frozen=True, slots=True, repr=False)
class ExportGrant:
    """What an importing service gets, once opened. Its `repr` shows nothing.

    Attributes:
        value: Secret.
        lifetime_s: For how long it may be used before the exporter has to be asked again.
        receipt: Of the exporter's log.
    """

    value: bytes
    lifetime_s: int
    receipt: Receipt

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: secret until they are sealed."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "value": self.value,
                "lifetime_s": self.lifetime_s,
                "receipt": self.receipt.to_value(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ExportGrant:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="export grant", max_bytes=_MAX_GRANT)
        fields.constant("version", PROTOCOL_VERSION)
        grant = cls(
            value=fields.octets("value", max_length=MAX_SECRET_BYTES),
            lifetime_s=fields.integer(
                "lifetime_s", minimum=MIN_EXPORT_LIFETIME_S, maximum=MAX_EXPORT_LIFETIME_S
            ),
            receipt=Receipt.from_fields(fields.submap("receipt")),
        )
        fields.end()
        return grant


def export_info(*, service: bytes, nonce: bytes, request: bytes) -> bytes:
    """Return the HPKE `info` under which the grant for exactly this request is sealed."""
    return framed(EXPORT_VALUE_LABEL, service, nonce, sha256(request))


def _malformed(sentence: str) -> MalformedError:
    return MalformedError(sentence, code="message.malformed")
