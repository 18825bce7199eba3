"""Judge simulated evidence against anchors that the caller supplies.

Spec: sim-evidence-v1, clauses SIM-10 to SIM-15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError, EvidenceError
from cloister.tee.sim.endorsements import require_anchor
from cloister.tee.sim.layout import MEDIA_TYPE, REPORT_LABEL, SignedReport, SimReport

__all__ = ["SimVerifier"]


class SimVerifier:
    """Accepts reports of the simulated platforms that it was given, and no others."""

    def __init__(self, anchors: Sequence[VerifyingKey]) -> None:
        """Take the accepted platforms; an empty list is a mistake, not a policy."""
        if not anchors:
            raise ConfigError("no trust anchor was given", code="config.missing")
        self._anchors: Final = tuple(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine report says; `hardware_rooted` is false in every case.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Must be empty: a simulated platform has no vendor.
            at: Not used: a report names no time; its freshness is the nonce in its binding.

        Raises:
            EvidenceError: Another kind of evidence, or the signature does not hold.
            EndorsementError: The platform is not among the anchors.
            MalformedError: The evidence does not parse.
        """
        del at
        # 1. The kind is ours.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not simulated evidence", code="evidence.kind")
        # 2. It parses, within its limits.
        signed = SignedReport.from_bytes(evidence.body)
        report = SimReport.from_bytes(signed.report)
        # 3. The platform is one that the caller accepts.
        anchor = require_anchor(report.anchor, self._anchors, endorsements)
        # 4. The platform signed exactly these bytes.
        anchor.verify(
            REPORT_LABEL,
            signed.report,
            signed.signature,
            error=EvidenceError(
                "the signature of the evidence does not hold", code="evidence.signature"
            ),
        )
        return Claims(
            root_of_trust="sim",
            anchor=anchor.identity,
            hardware_rooted=False,
            measurement=report.measurement,
            report_data=report.report_data,
            debug=report.debug,
            security_version=report.svn,
            status="",
            advisories=(),
            hardware_id=b"",
            vendor={},
        )
