"""Evidence as it travels: a media type and bytes that nobody has judged yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from cloister.attestation.claims import Claims
from cloister.errors import MalformedError
from cloister.wire import Fields, encode

__all__ = [
    "MAX_EVIDENCE_BYTES",
    "Attester",
    "Collected",
    "Endorsement",
    "EndorsingAttester",
    "Evidence",
    "EvidenceVerifier",
    "ReportData",
    "collect_all",
]

MAX_EVIDENCE_BYTES: Final = 65536
REPORT_DATA_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class ReportData:
    """The 64 bytes that a TEE signs for us; made by `bind`, nothing pads or truncates them."""

    value: bytes

    def __post_init__(self) -> None:
        """Exactly 64 bytes."""
        if len(self.value) != REPORT_DATA_BYTES:
            raise MalformedError("report data has 64 bytes", code="evidence.malformed")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Untrusted bytes of the kind that `media_type` names."""

    media_type: str
    body: bytes

    def to_bytes(self) -> bytes:
        """Return the envelope's canonical bytes (spec: evidence-envelope-v1)."""
        return encode({"media_type": self.media_type, "body": self.body})

    @classmethod
    def from_bytes(cls, data: bytes) -> Evidence:
        """Read an envelope from untrusted bytes."""
        fields = Fields.decode(data, what="evidence", max_bytes=MAX_EVIDENCE_BYTES + 512)
        media_type = fields.text("media_type", max_length=127)
        body = fields.octets("body", max_length=MAX_EVIDENCE_BYTES)
        fields.end()
        return cls(media_type, body)


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A statement of an endorser (certificate, collateral); untrusted until chained."""

    media_type: str
    body: bytes


class Attester(Protocol):
    """Makes evidence about the environment that it runs in."""

    def collect(self, report_data: ReportData) -> Evidence:
        """Ask the root of trust for evidence over these 64 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """Evidence, and what was given along with it, which vouches by its own signatures only."""

    evidence: Evidence
    endorsements: tuple[Endorsement, ...]


@runtime_checkable
class EndorsingAttester(Attester, Protocol):
    """An attester that has endorsements as well, of its machine's host for instance."""

    def collect_all(self, report_data: ReportData) -> Collected:
        """Ask for evidence over these 64 bytes, with what comes along."""
        ...


def collect_all(attester: Attester, report_data: ReportData) -> Collected:
    """Collect evidence, with endorsements where the attester has some."""
    if isinstance(attester, EndorsingAttester):
        return attester.collect_all(report_data)
    return Collected(attester.collect(report_data), ())


@runtime_checkable
class AnsweringAttester(Protocol):
    """Makes evidence in answer to a challenge, whose parts bind the nonce by itself as well.

    It is no `Attester` on purpose: over 64 bytes alone it has half of its evidence to give.
    """

    def answer(self, report_data: ReportData, *, nonce: bytes) -> Collected:
        """Ask for evidence over these 64 bytes and the verifier's nonce, and what goes along."""
        ...


def answer_all(
    attester: Attester | AnsweringAttester, report_data: ReportData, *, nonce: bytes
) -> Collected:
    """Collect evidence for a challenge, with endorsements where the attester has some.

    Args:
        attester: The root of trust that this process runs under.
        report_data: What it is to bind; it holds the nonce already.
        nonce: The verifier's own, for parts that bind it by itself.
    """
    if isinstance(attester, AnsweringAttester):
        return attester.answer(report_data, nonce=nonce)
    return collect_all(attester, report_data)


class EvidenceVerifier(Protocol):
    """Judges whether evidence is genuine; a pure function of its arguments."""

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what genuine evidence says, or raise.

        Raises:
            MalformedError: The evidence does not parse.
            EvidenceError: Its signature does not hold.
            EndorsementError: Its chain does not reach the trust anchor.
        """
        ...
