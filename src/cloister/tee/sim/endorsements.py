"""Endorsements of simulated platforms: there are none; the anchor is the platform itself."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.attestation.evidence import Endorsement
from cloister.crypto.signature import VerifyingKey
from cloister.errors import EndorsementError

__all__ = ["require_anchor"]


def require_anchor(
    claimed: bytes, anchors: Sequence[VerifyingKey], endorsements: Sequence[Endorsement]
) -> VerifyingKey:
    """Return the accepted anchor whose public bytes are `claimed`.

    Raises:
        EndorsementError: It is not among `anchors`, or endorsements came along, which nothing
            here could chain (code `endorsement.anchor`).
    """
    if endorsements:
        raise EndorsementError("simulated evidence has no endorsements", code="endorsement.anchor")
    for anchor in anchors:
        if anchor.raw == claimed:
            return anchor
    raise EndorsementError(
        "the platform that signed the evidence is not among the accepted anchors",
        code="endorsement.anchor",
    )
