"""Judge SEV-SNP reports against AMD's roots, or others that the caller pins.

Spec: snp-evidence-v1, clauses SNP-20 to SNP-31.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import EndorsementError, EvidenceError
from cloister.tee.anchors import require_anchors
from cloister.tee.snp.certificate import CSP_ID, ChipCertificate
from cloister.tee.snp.endorsements import SnpEndorsements, require_key_of
from cloister.tee.snp.layout import MEDIA_TYPE, Product, Report, product_of, tcb_parts
from cloister.tee.snp.roots import AMD_ROOT_DIGESTS
from cloister.wire import Value

__all__ = ["SnpVerifier"]


class SnpVerifier:
    """Accepts reports whose signing key the pinned roots certify, and no others."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take the SHA-256 of each accepted root certificate; an empty list is a mistake."""
        self._anchors: Final = require_anchors(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what a genuine report says.

        Args:
            evidence: Untrusted, exactly as received: one bare report.
            endorsements: Untrusted: the signing key's certificate, its chain, and AMD's
                revocation list. Without the list the claim `revocation_checked` is false.
            at: The instant to judge at, in seconds since the epoch.

        Raises:
            MalformedError: Report, certificate or list does not parse.
            EvidenceError: Another kind, an unknown processor, or the signature does not hold.
            EndorsementError: Chain, dates, revocation, or a certificate of another key.
            UnavailableError: A certificate is missing, or the list is too old.
        """
        # 1. The kind is ours.
        if evidence.media_type != MEDIA_TYPE:
            raise EvidenceError("not an SNP report", code="evidence.kind")
        # 2. It parses, and says that it is signed.
        report = Report.from_bytes(evidence.body)
        if report.signing_key == "none" or report.mask_chip_key:
            raise EvidenceError("the platform does not sign reports", code="evidence.signature")
        # 3. The chain ends in a pinned root, is valid then, and is signed as AMD's are.
        given = SnpEndorsements.sort(endorsements)
        issuers = given.issuers(self._anchors, at=at)
        # 4. Neither issuer is revoked, as far as a list was given.
        revocation_checked = given.require_not_revoked(issuers, at=at)
        # 5. The chain is that of the processor's product.
        product = _product(report, issuers.product)
        # 6. The certificate was issued by that chain and is valid then.
        certificate = given.certificate(issuers)
        if not certificate.not_before <= at <= certificate.not_after:
            raise EndorsementError(
                "the certificate of the signing key is not valid at that time",
                code="endorsement.expired",
                detail=f"{certificate.not_before} to {certificate.not_after}, not {at}",
            )
        # 7. It is the certificate of this very kind of key, product, version and chip.
        require_key_of(report, certificate, issuers, product)
        # 8. Its key signed exactly these bytes.
        certificate.key.verify(
            report.signed_bytes(),
            report.signature,
            "SHA-384",
            error=EvidenceError(
                "the signature of a report does not hold", code="evidence.signature"
            ),
        )
        # 9. What it says.
        return _claims(
            report,
            product,
            certificate,
            anchor=issuers.root.fingerprint,
            revocation_checked=revocation_checked,
        )


def _product(report: Report, chain: Product) -> Product:
    """Return the product that the processor's name and the chain agree on."""
    if not report.has_cpuid:
        return chain
    named = product_of(report.cpuid)
    if named is None:
        raise EvidenceError(
            "a processor that is not known", code="evidence.kind", detail=report.cpuid.hex()
        )
    if named != chain:
        raise EndorsementError(
            "a chain is another product's",
            code="endorsement.mismatch",
            detail=f"{named} in the report, {chain} in the chain",
        )
    return named


def _claims(
    report: Report,
    product: Product,
    certificate: ChipCertificate,
    *,
    anchor: bytes,
    revocation_checked: bool,
) -> Claims:
    reported = tcb_parts(report.reported_tcb, product)
    policy = report.policy_bits()
    debug = policy.pop("debug")
    vendor: dict[str, Value] = {
        "product": product,
        "report_version": report.version,
        "signing_key": report.signing_key,
        "csp_id": certificate.text(CSP_ID),
        "revocation_checked": revocation_checked,
        "chip_id_masked": not any(report.chip_id),
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "policy": {
            "abi": {"major": report.policy >> 8 & 0xFF, "minor": report.policy & 0xFF},
            **policy,
            "unknown": report.unknown_policy_bits,
        },
        "platform_info": {**report.platform_bits(), "unknown": report.unknown_platform_bits},
        "reported_tcb": _numbers(reported),
        "committed_tcb": _numbers(tcb_parts(report.committed_tcb, product)),
        "current_tcb": _numbers(tcb_parts(report.current_tcb, product)),
        "launch_tcb": _numbers(tcb_parts(report.launch_tcb, product)),
        "current_version": _version(report.current_version),
        "committed_version": _version(report.committed_version),
        "family_id": report.family_id,
        "image_id": report.image_id,
        "host_data": report.host_data,
        "id_key_digest": report.id_key_digest,
        "author_key_en": report.author_key_en,
        "author_key_digest": report.author_key_digest,
        "report_id": report.report_id,
        "report_id_ma": report.report_id_ma,
    }
    if report.has_cpuid:
        names = ("family", "model", "stepping")
        vendor["cpuid"] = _numbers(dict(zip(names, report.cpuid, strict=True)))
    if report.has_vectors:
        vendor["launch_mit_vector"] = report.launch_mit_vector
        vendor["current_mit_vector"] = report.current_mit_vector
    return Claims(
        root_of_trust="snp",
        anchor=anchor,
        hardware_rooted=anchor in AMD_ROOT_DIGESTS,
        measurement=report.measurement,
        report_data=report.report_data,
        debug=debug,
        security_version=reported["snp"],
        status="",
        advisories=(),
        hardware_id=report.chip_id if any(report.chip_id) else b"",
        vendor=vendor,
    )


def _version(raw: bytes) -> dict[str, Value]:
    """AMD writes build, minor, major."""
    return {"major": raw[2], "minor": raw[1], "build": raw[0]}


def _numbers(parts: dict[str, int]) -> dict[str, Value]:
    return dict(parts.items())
