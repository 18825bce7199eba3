"""What a renewal hands over: a new certificate, and nothing that its member has already.

A member renews by a release request of its own kind: fresh evidence, the same keys, another path,
and challenges that are good for renewing only. It takes no lease, so it fences no writer.

Spec: membership-v1, clauses MEM-60 to MEM-64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import framed, sha256
from cloister.keyservice.log import Receipt
from cloister.keyservice.member_messages import MemberGrant
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.wire import Fields, encode

__all__ = ["RENEWAL_CHALLENGE_PATH", "RENEWAL_PATH", "Renewal", "renewal_info"]

RENEWAL_CHALLENGE_PATH: Final = "/v1/renew-challenge"
RENEWAL_PATH: Final = "/v1/renew"
RENEWAL_LABEL: Final = b"cloister/membership/v1/renewal"
_MAX_BYTES: Final = 1 << 19
_MAX_PEM: Final = 16384
_MAX_RESULT: Final = 262144


@dataclass(frozen=True, slots=True, repr=False)
class Renewal:
    """What a granted renewal hands over, sealed to the member's key.

    Attributes:
        certificate: PEM; its key is the one in the request.
        result: Canonical bytes of the new attestation result.
        receipt: That the log holds this decision.
        member: The membership, with its new end.
    """

    certificate: bytes
    result: bytes
    receipt: Receipt
    member: MemberGrant

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Renewal(member={self.member!r})"

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: secret until sealed."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "certificate": self.certificate,
                "result": self.result,
                "receipt": self.receipt.to_value(),
                "member": self.member.to_value(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Renewal:
        """Read a renewal; the sealing has authenticated it, and it is still read strictly."""
        fields = Fields.decode(data, what="renewal", max_bytes=_MAX_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        renewal = cls(
            certificate=fields.octets("certificate", max_length=_MAX_PEM),
            result=fields.octets("result", max_length=_MAX_RESULT),
            receipt=Receipt.from_fields(fields.submap("receipt")),
            member=MemberGrant.from_fields(fields.submap("member")),
        )
        fields.end()
        return renewal


def renewal_info(*, service: bytes, nonce: bytes, request: bytes) -> bytes:
    """Return the HPKE `info` under which the answer to `request` is sealed."""
    return framed(RENEWAL_LABEL, service, nonce, sha256(request))
