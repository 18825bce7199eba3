"""What the service knows of who decides: charters in force, and proposals that wait for approvals.

Spec: policy-approval-v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.keyservice.approvals import Approval, Subject

__all__ = ["CharterRecord", "Proposal"]


@dataclass(frozen=True, slots=True, repr=False)
class CharterRecord:
    """A charter in force.

    Attributes:
        namespace: Where.
        hash: Of its canonical bytes, by the charters' label.
        canonical: Those bytes.
        at: When it came into force.
        ca_key: DER of its certificate authority's key, secret; empty for the root, whose authority
            was made when the domain was founded.
        ca_certificate: DER of its certificate; empty likewise.
    """

    namespace: str
    hash: bytes
    canonical: bytes
    at: int
    ca_key: bytes
    ca_certificate: bytes

    def __repr__(self) -> str:
        """Show no secret."""
        return f"CharterRecord(namespace={self.namespace!r}, hash={self.hash.hex()})"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy or charter that lacks approvals.

    Attributes:
        subject: What is to be approved.
        name: The policy's; empty for a charter.
        canonical: The bytes that would come into force.
        submitter: Public key of whoever proposed it first.
        deadline: The last second in which it can come into force.
        approvals: Those that counted when they came, one for each approver.
    """

    subject: Subject
    name: str
    canonical: bytes
    submitter: bytes
    deadline: int
    approvals: tuple[Approval, ...]
