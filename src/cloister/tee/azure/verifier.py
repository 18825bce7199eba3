"""Judge the evidence of Azure's confidential VMs: hardware report, vTPM key, quote.

The processor's report covers Azure's runtime data, which names the vTPM's key, which quotes our
nonce. Each step is judged by the root of trust that it belongs to.

Spec: azure-evidence-v1, clauses AZ-20 to AZ-28.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import (
    REPORT_DATA_BYTES,
    Endorsement,
    Evidence,
    EvidenceVerifier,
)
from cloister.crypto.digest import require_equal, sha256
from cloister.errors import EvidenceError
from cloister.tee.azure.layout import SNP_TYPE, TDX_TYPE, AzureEvidence, Platform, RuntimeData
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_REPORT_TYPE
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tpm.quote import judge_quote

__all__ = ["TD_QUOTE_TYPE", "AzureSnpVerifier", "AzureTdxVerifier", "VerifierFactory"]

VerifierFactory = Callable[[Sequence[bytes]], EvidenceVerifier]
TD_QUOTE_TYPE: Final = "application/vnd.cloister.tdx"
_FIRMWARE_VMPL: Final = 0


class AzureSnpVerifier:
    """Accepts VMs whose SNP report AMD's roots, or others that the caller pins, vouch for."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take the anchors of SNP reports."""
        self._inner: Final = SnpVerifier(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine VM says; `report_data` is the nonce in the quote.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Those of its SNP report.
            at: The instant to judge at.

        Raises:
            MalformedError: A part does not parse.
            EvidenceError: Another kind; a part does not belong to the others (`evidence.parts`);
                a signature, the values or the log of the quote does not hold.
            EndorsementError: As for SNP reports.
            UnavailableError: As for SNP reports.
        """
        parts = _parts(evidence, SNP_TYPE)
        # 2. The report is genuine.
        report = self._inner.verify(Evidence(SNP_REPORT_TYPE, parts.report), endorsements, at=at)
        # 3. Azure's firmware asked for it, which alone runs at the highest privilege level: the
        #    guest below can bind what it likes to a report of its own.
        if report.vendor["vmpl"] != _FIRMWARE_VMPL:
            raise EvidenceError(
                "the report was not asked for by the firmware", code="evidence.parts"
            )
        return _bound(parts, report, "snp")


class AzureTdxVerifier:
    """Accepts VMs whose TD quote the inner verifier accepts."""

    def __init__(self, anchors: Sequence[bytes], inner: VerifierFactory) -> None:
        """Take the anchors of TD quotes, and what makes their verifier."""
        self._inner: Final = inner(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine VM says; `report_data` is the nonce in the quote.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: Those of its TD quote.
            at: The instant to judge at.

        Raises:
            MalformedError: A part does not parse.
            EvidenceError: Another kind; a part does not belong to the others (`evidence.parts`);
                a signature, the values or the log of the quote does not hold.
            EndorsementError: As for TD quotes.
            UnavailableError: As for TD quotes.
        """
        parts = _parts(evidence, TDX_TYPE)
        # 2. The TD quote is genuine.
        report = self._inner.verify(Evidence(TD_QUOTE_TYPE, parts.report), endorsements, at=at)
        return _bound(parts, report, "tdx")


def _parts(evidence: Evidence, media_type: str) -> AzureEvidence:
    # 1. The kind is ours, and it parses.
    if evidence.media_type != media_type:
        raise EvidenceError("not this kind of Azure evidence", code="evidence.kind")
    return AzureEvidence.from_bytes(evidence.body)


def _bound(parts: AzureEvidence, report: Claims, platform: Platform) -> Claims:
    # 4. The report covers exactly this runtime data, and nothing beside it.
    require_equal(
        report.report_data,
        sha256(parts.runtime_data).ljust(REPORT_DATA_BYTES, b"\0"),
        error=EvidenceError("the report does not cover the runtime data", code="evidence.parts"),
    )
    # 5. The runtime data names the vTPM's key.
    runtime = RuntimeData.from_bytes(parts.runtime_data)
    # 6. That key signed the quote, its values and its log belong to it.
    quote, found = judge_quote(parts.quote, runtime.ak)
    # 7. What all of it says.
    return dataclasses.replace(
        report,
        root_of_trust=f"azure-{platform}",
        report_data=quote.extra_data,
        vendor={
            "vm_configuration": dict(runtime.configuration),
            "user_data": runtime.user_data,
            "ak": sha256(runtime.ak),
            platform: report.vendor,
            "tpm": found,
        },
    )
