"""Judge an enclave's quote: genuine under an accepted root, on a platform that Intel knows.

Spec: intel-evidence-v1, clauses INTEL-30 to INTEL-46 and INTEL-50.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.intel.fields import as_date, platform_claims
from cloister.tee.intel.layout import TEE_SGX
from cloister.tee.intel.procedure import Tee, vouch
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.intel.tcb import choose_platform, merge
from cloister.tee.sgx.layout import DEBUG, MEDIA_TYPE, read_quote

__all__ = ["SgxVerifier"]

_TEE: Final = Tee(TEE_SGX, "SGX", "QE")


class SgxVerifier:
    """Accepts quotes of enclaves whose platform leads to one of the given roots."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take the SHA-256 of each accepted root certificate.

        Raises:
            ConfigError: None was given (`config.missing`).
        """
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine quote says; status and attributes are for a policy to judge.

        Args:
            evidence: Untrusted, exactly as received.
            endorsements: One bundle of Intel's collateral, untrusted.
            at: The instant, in seconds since the epoch, at which everything must count.

        Raises:
            MalformedError: Evidence or collateral does not parse.
            EvidenceError: Another kind, a signature that does not hold, parts of different origin.
            EndorsementError: No accepted root, expired, revoked, or about another platform.
            UnavailableError: Collateral is missing or does not count at that time.
        """
        # 1. The kind is ours, and it parses.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not SGX evidence", code="evidence.kind")
        quote, report = read_quote(evidence.body)
        # 2. It is genuine, by a platform and a quoting enclave that Intel vouches for.
        vouched = vouch(quote, endorsements, _TEE, anchors=self._anchors, at=at)
        # 3. Intel lists the platform's version, and it is not revoked.
        pck = vouched.platform
        platform = choose_platform(vouched.tcb_info.levels, pck.components, pck.pcesvn, None)
        tcb = merge(platform, (vouched.qe,))
        return Claims(
            root_of_trust="sgx",
            anchor=vouched.anchor,
            hardware_rooted=vouched.anchor in INTEL_ROOTS,
            measurement=report.mr_enclave,
            report_data=report.report_data,
            debug=bool(report.attributes[0] & DEBUG),
            security_version=as_date(tcb.date),
            status=tcb.status,
            advisories=tcb.advisories,
            hardware_id=pck.ppid,
            vendor={
                "quote_version": quote.header.version,
                "mr_signer": report.mr_signer,
                "isv_prod_id": report.isv_prod_id,
                "isv_svn": report.isv_svn,
                "attributes": report.attributes,
                "misc_select": report.misc_select,
                "cpu_svn": report.cpu_svn,
                "config_id": report.config_id,
                "config_svn": report.config_svn,
                "isv_ext_prod_id": report.isv_ext_prod_id,
                "isv_family_id": report.isv_family_id,
                **platform_claims(vouched, platform),
            },
        )
