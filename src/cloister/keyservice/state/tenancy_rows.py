"""Rows of charters and proposals, and the records they stand for. Pure."""

from __future__ import annotations

from typing import Final

from cloister.errors import MalformedError
from cloister.keyservice.approvals import MAX_APPROVAL_BYTES, Approval, Subject
from cloister.keyservice.tenancy_records import CharterRecord, Proposal
from cloister.wire import Fields, encode

__all__ = [
    "charter_from_row",
    "charter_to_row",
    "proposal_from_row",
    "proposal_key",
    "proposal_to_row",
]

_MAX_ROW: Final = 1 << 21
_MAX_APPROVALS: Final = 64


def charter_to_row(record: CharterRecord) -> bytes:
    """Return a charter's row; its key is the namespace."""
    return encode(
        {
            "hash": record.hash,
            "canonical": record.canonical,
            "at": record.at,
            "ca_key": record.ca_key,
            "ca_certificate": record.ca_certificate,
        }
    )


def charter_from_row(namespace: str, data: bytes) -> CharterRecord:
    """Read a charter's row."""
    fields = Fields.decode(data, what="charter row", max_bytes=_MAX_ROW)
    record = CharterRecord(
        namespace,
        fields.octets("hash"),
        fields.octets("canonical"),
        fields.integer("at"),
        fields.octets("ca_key"),
        fields.octets("ca_certificate"),
    )
    fields.end()
    return record


def proposal_key(subject: Subject, name: str) -> bytes:
    """Return the key of a proposal's row."""
    return encode([subject.kind, subject.namespace, name, subject.hash])


def proposal_to_row(proposal: Proposal) -> bytes:
    """Return a proposal's row."""
    subject = proposal.subject
    return encode(
        {
            "service": subject.service,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "hash": subject.hash,
            "predecessor": subject.predecessor,
            "name": proposal.name,
            "canonical": proposal.canonical,
            "submitter": proposal.submitter,
            "deadline": proposal.deadline,
            "approvals": [approval.to_bytes() for approval in proposal.approvals],
        }
    )


def proposal_from_row(data: bytes) -> Proposal:
    """Read a proposal's row."""
    fields = Fields.decode(data, what="proposal row", max_bytes=_MAX_ROW)
    approvals = fields.array("approvals", max_items=_MAX_APPROVALS)
    proposal = Proposal(
        subject=Subject(
            service=fields.octets("service"),
            kind=fields.text("kind"),
            namespace=fields.text("namespace"),
            hash=fields.octets("hash"),
            predecessor=fields.octets("predecessor"),
        ),
        name=fields.text("name"),
        canonical=fields.octets("canonical", max_length=_MAX_ROW),
        submitter=fields.octets("submitter"),
        deadline=fields.integer("deadline"),
        approvals=tuple(_approval(item) for item in approvals),
    )
    fields.end()
    return proposal


def _approval(item: object) -> Approval:
    if not isinstance(item, bytes) or len(item) > MAX_APPROVAL_BYTES:
        raise MalformedError("not an approval's row", code="message.malformed")
    return Approval.from_bytes(item)
