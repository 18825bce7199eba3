"""Which endorsements of a bundle belong to a piece of evidence: about it, the newest that count.

A bundle may hold what was collected for many machines, and the same list of two days; a verifier
wants what is about the evidence at hand, once. Choosing decides nothing about trust: what is about
the evidence and cannot be read is left in, so that the verifier refuses it. Where nothing counts at
the instant, the newest is left in, so that it is called stale and not missing.

Spec: endorsement-bundle-v1, clauses EB-13 and EB-14.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Final

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate, RevocationList, read_pem_chain
from cloister.crypto.ocsp import OcspResponse
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.endorsing.amd import ID_BYTES, INTERMEDIATES
from cloister.endorsing.contents import describe
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.wishes import devices_of, quote_of, report_of
from cloister.errors import CloisterError, EvidenceError
from cloister.tee.intel.endorsements import COLLATERAL_TYPE, read_collateral
from cloister.tee.intel.pck import PCK_CA_NAMES
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.tee.nvidia.endorsements import OCSP_MEDIA_TYPE
from cloister.tee.nvidia.layout import REPORT_MEDIA_TYPE, GpuReport
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.tee.snp.certificate import HARDWARE_ID, PRODUCT_NAME, SPL, ChipCertificate
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import PRODUCTS, TCB_PARTS, Product, Report, product_of

__all__ = ["choose"]

# What several endorsements are alternatives of; None for what is about something else.
_Place = Callable[[Endorsement], Hashable | None]
_UNREADABLE: Final = "unreadable"


def choose(
    evidence: Evidence, kind: str, endorsements: Sequence[Endorsement], *, at: int
) -> list[Endorsement]:
    """Return what belongs to a piece of evidence; all of it, where that cannot be told.

    Args:
        evidence: Untrusted.
        kind: A root of trust's name.
        endorsements: Untrusted.
        at: The instant to judge at.
    """
    try:
        place = _place_of(evidence, kind, endorsements)
    except CloisterError:
        return list(endorsements)
    if place is None:
        return list(endorsements)
    chosen: dict[Hashable, Endorsement] = {}
    for number, each in enumerate(endorsements):
        try:
            found = place(each)
        except CloisterError:
            found = (_UNREADABLE, number)
        if found is None:
            continue
        other = chosen.get(found)
        if other is None or _worth(each, at=at) > _worth(other, at=at):
            chosen[found] = each
    return list(chosen.values())


def _worth(endorsement: Endorsement, *, at: int) -> tuple[bool, int, int]:
    """Order alternatives: those that count before those that do not, then the newest."""
    try:
        window = describe(endorsement).window
    except CloisterError:
        return False, 0, 0
    if window is None:
        return True, 0, 0
    return window.holds(at), window.start, window.end


def _place_of(evidence: Evidence, kind: str, endorsements: Sequence[Endorsement]) -> _Place | None:
    if kind in {"sgx", "tdx", "azure-tdx"}:
        return _of_intel(IntelWish.of(quote_of(evidence, kind)))
    if kind in {"snp", "azure-snp"}:
        return _of_amd(report_of(evidence, kind), endorsements)
    if kind == "nvidia":
        return _of_nvidia(evidence, endorsements)
    return None


def _of_intel(wish: IntelWish) -> _Place:
    def place(each: Endorsement) -> Hashable | None:
        if each.media_type != COLLATERAL_TYPE:
            return None
        found = read_collateral(each.body)
        info = read_tcb_info(found.tcb_info.text)
        ca = PCK_CA_NAMES.get(found.pck_crl.issuer_common_name)
        same = (info.id.lower(), info.fmspc, ca) == (wish.tee, wish.fmspc, wish.ca)
        return COLLATERAL_TYPE if same else None

    return place


def _of_amd(report: Report, endorsements: Sequence[Endorsement]) -> _Place:
    product = product_of(report.cpuid) if report.has_cpuid else _certified(report, endorsements)
    names = [f"{INTERMEDIATES.get(report.signing_key, '')}{product}", f"ARK-{product}"]

    def place(each: Endorsement) -> Hashable | None:
        match each.media_type:
            case "application/pkix-cert":
                fits = product is not None and _is_key_of(each, report, product)
            case "application/pem-certificate-chain":
                chain = read_pem_chain(each.body, max_certificates=2)
                fits = [found.common_name for found in chain] == names
            case "application/pkix-crl":
                found = RevocationList.from_der(each.body)
                fits = found.issuer_common_name == f"ARK-{product}"
            case _:
                fits = False
        return each.media_type if fits else None

    return place


def _certified(report: Report, endorsements: Sequence[Endorsement]) -> Product | None:
    """Return the product of the certificate for a report that does not name its processor."""
    for each in endorsements:
        if each.media_type == CERTIFICATE_TYPE:
            with contextlib.suppress(CloisterError):
                for product in PRODUCTS:
                    if _is_key_of(each, report, product):
                        return product
    return None


def _is_key_of(endorsement: Endorsement, report: Report, product: Product) -> bool:
    found = ChipCertificate.from_der(endorsement.body)
    versions = [found.number(SPL[part]) for part in TCB_PARTS[product]]
    if (
        found.common_name != f"SEV-{report.signing_key}"
        or found.text(PRODUCT_NAME).partition("-")[0] != product
        or versions != list(report.reported_tcb)
    ):
        return False
    if report.signing_key == "VLEK" or not any(report.chip_id):
        return True
    size = ID_BYTES[product]
    return found.octets(HARDWARE_ID, size) == report.chip_id[:size]


def _of_nvidia(evidence: Evidence, endorsements: Sequence[Endorsement]) -> _Place:
    bare = _chain_of(evidence, endorsements)
    devices = devices_of(evidence, bare)
    versions = {
        version
        for _, report in devices
        for version in (report.driver_version, report.vbios_version)
    }
    chips = {path[0].common_name.partition(" ")[0] for path, _ in devices}

    def ours(rim: Rim) -> bool:
        return rim.content.chip in chips and rim.content.version in versions

    paths = [list(path) for path, _ in devices]
    for each in endorsements:
        if each.media_type == RIM_MEDIA_TYPE:
            rim = _readable(each)
            if rim is not None and ours(rim):
                paths.append(list(rim.path))
    pairs = [pair for path in paths for pair in pairwise(path)]
    subjects = {issuer.subject for _, issuer in pairs}

    def place(each: Endorsement) -> Hashable | None:
        if each.media_type == RIM_MEDIA_TYPE:
            rim = Rim.from_xml(each.body)
            return (rim.content.chip, rim.content.version) if ours(rim) else None
        if each.media_type == OCSP_MEDIA_TYPE:
            return _answered(OcspResponse.from_der(each.body), pairs)
        if each.media_type == LIST_TYPE:
            issuer = RevocationList.from_der(each.body).issuer
            return issuer if issuer in subjects else None
        return CHAIN_TYPE if each in bare else None

    return place


def _chain_of(evidence: Evidence, endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Return the chain whose first key signed a bare report; none where evidence brings its own."""
    if evidence.media_type != REPORT_MEDIA_TYPE:
        return []
    report = GpuReport.from_bytes(evidence.body)
    error = EvidenceError("another GPU's", code="evidence.signature")
    for each in endorsements:
        if each.media_type == CHAIN_TYPE:
            with contextlib.suppress(CloisterError):
                key = EcdsaKey.from_spki(read_pem_chain(each.body)[0].public_key, "P-384")
                key.verify(report.signed, report.signature, "SHA-384", error=error)
                return [each]
    return [each for each in endorsements if each.media_type == CHAIN_TYPE]


def _readable(endorsement: Endorsement) -> Rim | None:
    try:
        return Rim.from_xml(endorsement.body)
    except CloisterError:
        return None


def _answered(
    response: OcspResponse, pairs: Sequence[tuple[Certificate, Certificate]]
) -> Hashable | None:
    """Return which of the certificates a response is about; None for none."""
    about = [
        (certificate.der, issuer.der)
        for certificate, issuer in pairs
        if response.names(certificate, issuer)
    ]
    return tuple(dict.fromkeys(about)) or None
