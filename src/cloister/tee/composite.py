"""Evidence of a machine with an accelerator: two parts that name each other, or none.

Pure: who makes the parts is an argument.

A processor's evidence says nothing about the GPU beside it, and a GPU's nothing about the machine
that it is in: whoever runs the host can put genuine evidence of two machines together. Therefore

- the GPU signs a nonce made from the verifier's nonce and from what the processor is asked to bind
  (`accelerator_nonce`), and
- the processor binds a digest of the GPU's evidence (`composite_report_data`).

What the processor is asked to bind, `request`, holds the requester's keys (report-data-binding-v1).

Spec: composite-evidence-v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import (
    MAX_EVIDENCE_BYTES,
    Endorsement,
    Evidence,
    EvidenceVerifier,
    ReportData,
)
from cloister.attestation.evidence_rules import Field, Rule
from cloister.attestation.verdict import Verdict, appraise_claims
from cloister.crypto.digest import framed, require_equal, sha256, sha512
from cloister.errors import EvidenceError, MalformedError, UnsupportedError
from cloister.wire import Fields, encode

__all__ = [
    "COMPOSITE_MEDIA_TYPE",
    "MAX_COMPOSITE_BYTES",
    "PARTS",
    "CompositeClaims",
    "CompositeEvidence",
    "CompositeVerdict",
    "PartVerifier",
    "accelerator_nonce",
    "appraise_composite",
    "attest_composite",
    "composite_report_data",
    "verify_composite",
]

COMPOSITE_MEDIA_TYPE: Final = "application/vnd.cloister.composite+cbor"
MAX_COMPOSITE_BYTES: Final = 1 << 19
PARTS: Final = ("cpu", "gpu")
_MAX_PART_BYTES: Final = 1 << 18
_NONCE_BYTES: Final = 32
_VERSION: Final = 1
_NONCE_LABEL: Final = b"cloister/composite-evidence/v1/accelerator-nonce"
_REPORT_DATA_LABEL: Final = b"cloister/composite-evidence/v1/report-data"


@dataclass(frozen=True, slots=True)
class CompositeEvidence:
    """Evidence of a processor and of the accelerators beside it; nobody has judged it yet."""

    cpu: Evidence
    gpu: Evidence

    def to_evidence(self) -> Evidence:
        """Return it as one piece of evidence."""
        parts = {"cpu": _as_map(self.cpu), "gpu": _as_map(self.gpu)}
        return Evidence(COMPOSITE_MEDIA_TYPE, encode({"version": _VERSION, **parts}))

    def to_envelope(self) -> Evidence:
        """Return it as one piece of evidence that fits into an envelope.

        Raises:
            UnsupportedError: There are too many accelerators for that (`machine.attester`).
        """
        found = self.to_evidence()
        if len(found.body) > MAX_EVIDENCE_BYTES:
            raise UnsupportedError(
                "evidence of this processor and so many GPUs does not fit into an envelope",
                code="machine.attester",
            )
        return found

    @classmethod
    def from_evidence(cls, evidence: Evidence) -> CompositeEvidence:
        """Read untrusted evidence.

        Raises:
            EvidenceError: Another kind (`evidence.kind`), or a part is missing (`evidence.parts`).
            MalformedError: It does not parse.
        """
        if evidence.media_type != COMPOSITE_MEDIA_TYPE:
            raise EvidenceError("not evidence of several parts", code="evidence.kind")
        fields = Fields.decode(
            evidence.body, what="composite evidence", max_bytes=MAX_COMPOSITE_BYTES
        )
        fields.constant("version", _VERSION)
        cpu, gpu = (_part(fields, name) for name in PARTS)
        fields.end()
        return cls(cpu, gpu)


@dataclass(frozen=True, slots=True)
class PartVerifier:
    """What judges one part: its verifier, and endorsements, untrusted."""

    verifier: EvidenceVerifier
    endorsements: Sequence[Endorsement]


@dataclass(frozen=True, slots=True)
class CompositeClaims:
    """What genuine parts say, which belong together; only `verify_composite` makes it."""

    cpu: Claims
    gpu: Claims

    @property
    def hardware_rooted(self) -> bool:
        """Whether hardware signed both."""
        return self.cpu.hardware_rooted and self.gpu.hardware_rooted


@dataclass(frozen=True, slots=True)
class CompositeVerdict:
    """The verdicts about each part, by name."""

    parts: Mapping[str, Verdict]

    @property
    def accepted(self) -> bool:
        """Whether every part is there and accepted."""
        return set(self.parts) == set(PARTS) and all(each.accepted for each in self.parts.values())

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "verdict": "accept" if self.accepted else "reject",
            "parts": {name: each.as_record() for name, each in self.parts.items()},
        }


def accelerator_nonce(nonce: bytes, request: ReportData) -> bytes:
    """Return the nonce that the accelerators sign.

    Args:
        nonce: The verifier's, 32 bytes.
        request: What the processor is asked to bind, were there no accelerator.

    Raises:
        MalformedError: The nonce has another length.
    """
    if len(nonce) != _NONCE_BYTES:
        raise MalformedError("a nonce has 32 bytes", code="evidence.malformed")
    return sha256(framed(_NONCE_LABEL, nonce, request.value))


def composite_report_data(request: ReportData, gpu: Evidence) -> ReportData:
    """Return what the processor binds: what it was asked to, and the accelerators' evidence."""
    digest = sha256(encode(_as_map(gpu)))
    return ReportData(sha512(framed(_REPORT_DATA_LABEL, request.value, digest)))


def attest_composite(
    cpu: Callable[[ReportData], Evidence],
    gpu: Callable[[bytes], Evidence],
    *,
    nonce: bytes,
    request: ReportData,
) -> CompositeEvidence:
    """Have both parts made, the accelerators' first, since the processor names them.

    Args:
        cpu: Makes evidence over 64 bytes.
        gpu: Makes evidence over a nonce of 32.
        nonce: The verifier's, 32 bytes.
        request: What the processor would bind, were there no accelerator.

    Raises:
        MalformedError: The nonce has another length.
        CloisterError: As the two raise.
    """
    accelerators = gpu(accelerator_nonce(nonce, request))
    processor = cpu(composite_report_data(request, accelerators))
    return CompositeEvidence(processor, accelerators)


def verify_composite(
    evidence: CompositeEvidence,
    verifiers: Mapping[str, PartVerifier],
    *,
    nonce: bytes,
    request: ReportData,
    at: int,
) -> CompositeClaims:
    """Judge both parts, and that each was made for the other and for this request.

    Args:
        evidence: Untrusted.
        verifiers: For `cpu` and for `gpu`, both.
        nonce: The verifier's own, never used before.
        request: The report data for this request, computed by the verifier.
        at: Instant, in seconds since the epoch, at which certificates are judged.

    Raises:
        EvidenceError: A part is without its verifier (`evidence.parts`), not genuine, or made for
            something else (`evidence.binding`).
        MalformedError: A part does not parse.
        EndorsementError: Endorsements of a part did not hold.
        UnavailableError: Endorsements of a part are missing or too old.
    """
    # 1. Both parts have somebody who judges them.
    if set(verifiers) != set(PARTS):
        raise EvidenceError("a part has nobody who judges it", code="evidence.parts")
    # 2. Both are genuine.
    cpu, gpu = (
        verifiers[name].verifier.verify(part, verifiers[name].endorsements, at=at)
        for name, part in (("cpu", evidence.cpu), ("gpu", evidence.gpu))
    )
    # 3. They are evidence of different kinds of things.
    if cpu.root_of_trust == gpu.root_of_trust:
        raise EvidenceError("both parts are of one kind", code="evidence.parts")
    # 4. The processor binds the request and the accelerators' evidence.
    unbound = EvidenceError("a part was made for something else", code="evidence.binding")
    wanted = composite_report_data(request, evidence.gpu)
    require_equal(cpu.report_data, wanted.value, error=unbound)
    # 5. The accelerators bind the verifier's nonce and the request.
    require_equal(gpu.report_data, accelerator_nonce(nonce, request), error=unbound)
    return CompositeClaims(cpu, gpu)


def appraise_composite(
    claims: CompositeClaims, rules: Mapping[str, tuple[Sequence[Field], Mapping[str, Rule]]]
) -> CompositeVerdict:
    """Apply each part's rules to it.

    Args:
        claims: Of genuine parts that belong together.
        rules: For `cpu` and for `gpu`, both: the table of the part's root of trust, and its rules.

    Raises:
        MalformedError: A part has no rules, or they are not complete (`policy.invalid`).
    """
    if set(rules) != set(PARTS):
        raise MalformedError("every part has rules", code="policy.invalid")
    parts = {"cpu": claims.cpu, "gpu": claims.gpu}
    return CompositeVerdict({name: appraise_claims(parts[name], *rules[name]) for name in PARTS})


def _as_map(part: Evidence) -> dict[str, str | bytes]:
    return {"media_type": part.media_type, "body": part.body}


def _part(fields: Fields, name: str) -> Evidence:
    if not fields.has(name):
        raise EvidenceError(f"half of a composite: {name} is missing", code="evidence.parts")
    part = fields.submap(name)
    media_type = part.text("media_type", max_length=127)
    body = part.octets("body", max_length=_MAX_PART_BYTES)
    part.end()
    return Evidence(media_type, body)
