"""Judge TPM 2.0 quotes by attestation keys that a pinned root certifies, or that are pinned.

Spec: tpm-evidence-v1, clauses TPM-20 to TPM-29.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.digest import sha256
from cloister.errors import EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.tpm.endorsements import TpmEndorsements, Voucher
from cloister.tee.tpm.layout import MEDIA_TYPE, Quote, TpmEvidence
from cloister.tee.tpm.quote import judge_quote
from cloister.tee.tpm.roots import TPM_ROOTS
from cloister.wire import Value

__all__ = ["TpmVerifier"]

_ROOTS: Final = {root.sha256: root for root in TPM_ROOTS}


class TpmVerifier:
    """Accepts quotes by attestation keys that somebody pinned vouches for, and no others."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take the SHA-256 of each accepted root certificate, or of a key's public key info."""
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine quote says.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Untrusted: the key's certificates and lists; none for a pinned key.
            at: The instant to judge certificates at. A quote names no time: its freshness is the
                nonce, which is the claim `report_data`.

        Raises:
            MalformedError: Evidence or endorsements do not parse.
            EvidenceError: Another kind; signature, values or log do not hold.
            EndorsementError: Nobody pinned vouches for the key, or a certificate is no good then.
            UnavailableError: A revocation list does not count then.
        """
        # 1. The kind is ours, and it parses.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not a TPM's quote", code="evidence.kind")
        parts = TpmEvidence.from_bytes(evidence.body)
        # 2. Somebody who is pinned vouches for the key.
        voucher = TpmEndorsements.sort(endorsements).require_vouched(parts.ak, self._anchors, at=at)
        # 3. The key signed the quote, its values are those that came along, the log leads to them.
        quote, found = judge_quote(parts.quote, parts.ak)
        # 4. What it says.
        return _claims(quote, found, voucher, ak=parts.ak)


def _claims(quote: Quote, found: dict[str, Value], voucher: Voucher, *, ak: bytes) -> Claims:
    root = _ROOTS.get(voucher.anchor)
    vendor: dict[str, Value] = {
        "ak": sha256(ak),
        "ak_pinned": voucher.pinned,
        "ak_subject": voucher.subject,
        "vouched_by": "" if root is None else root.name,
        "revocation_checked": voucher.revocation_checked or voucher.pinned,
        **found,
    }
    return Claims(
        root_of_trust="tpm",
        anchor=voucher.anchor,
        hardware_rooted=root is not None and root.hardware,
        measurement=sha256(quote.info_bytes()),
        report_data=quote.extra_data,
        debug=False,
        security_version=0,
        status="",
        advisories=(),
        hardware_id=b"",
        vendor=vendor,
    )
