"""Judge attestation documents of AWS Nitro Enclaves.

Spec: nitro-evidence-v1, clauses NIT-10 to NIT-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.nitro.endorsements import require_bundle, require_none
from cloister.tee.nitro.layout import MEDIA_TYPE, PCR_BYTES, read_document
from cloister.tee.nitro.roots import NITRO_ROOTS

__all__ = ["NitroVerifier"]


class NitroVerifier:
    """Accepts documents whose bundles end in the anchors that it was given."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take SHA-256 digests of root certificates; an empty list is a mistake, not a policy."""
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine document says.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Must be empty: a document brings its own chain.
            at: Instant, in seconds since the epoch, at which certificates are judged. The time
                that the document names is a claim.

        Raises:
            MalformedError: The document does not parse, or endorsements came along.
            EvidenceError: Another kind of evidence, or the signature does not hold.
            EndorsementError: The chain does not reach an anchor.
        """
        # 1. The kind is ours, and there is nothing else.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not a Nitro document", code="evidence.kind")
        require_none(endorsements)
        # 2. It parses, within its limits.
        message, document = read_document(evidence.body)
        # 3. The signer's path ends in an accepted root.
        signer, anchor = require_bundle(
            document.certificate, document.cabundle, self._anchors, at=at
        )
        # 4. The signer's P-384 key signed it, with ES384.
        message.require_signed(EcdsaKey.from_spki(signer.public_key, "P-384"))
        # 5. The claims. In debug mode the registers of the image are zero.
        image = document.pcrs.get(0, bytes(PCR_BYTES))
        return Claims(
            root_of_trust="nitro",
            anchor=anchor,
            hardware_rooted=anchor in NITRO_ROOTS,
            measurement=image,
            report_data=document.user_data or b"",
            debug=image == bytes(PCR_BYTES),
            security_version=0,
            status="",
            advisories=(),
            hardware_id=b"",
            vendor={
                "module_id": document.module_id,
                "timestamp": document.timestamp,
                "pcrs": {str(index): value for index, value in sorted(document.pcrs.items())},
                "nonce": document.nonce,
                "public_key": document.public_key,
            },
        )
