"""The procedure that quotes of enclaves and of TDs share, up to the platform's TCB level.

Spec: intel-evidence-v1, clauses INTEL-30 to INTEL-35.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import DIGEST_BYTES, require_equal, sha256
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EndorsementError, EvidenceError, UnavailableError
from cloister.tee.intel.endorsements import Collateral, collateral_of
from cloister.tee.intel.layout import (
    ECDSA_P256,
    INTEL_QE,
    PCK_CHAIN,
    PLAIN_PPID,
    PLATFORM_BYTES,
    SGX_BODY,
    EnclaveReport,
    Quote,
    QuoteSignature,
)
from cloister.tee.intel.pck import (
    PCK_CA_NAMES,
    PCK_NAME,
    ROOT_NAME,
    PckExtension,
    read_chain,
    require_intel_path,
)
from cloister.tee.intel.qe_identity import QeIdentity, read_qe_identity
from cloister.tee.intel.statement import require_current
from cloister.tee.intel.tcb import TcbStatus, choose_svn
from cloister.tee.intel.tcb_info import TcbInfo, read_tcb_info

__all__ = ["Tee", "Vouched", "vouch"]


@dataclass(frozen=True, slots=True)
class Tee:
    """Which statements of Intel's are about one TEE."""

    tee_type: int
    tcb_id: str
    qe_id: str


@dataclass(frozen=True, slots=True)
class Vouched:
    """What Intel vouches for about a genuine quote; the platform's level is still to be chosen.

    Attributes:
        anchor: The root's fingerprint.
        authority: `platform` or `processor`: who certified the platform.
        platform: What was certified.
        tcb_info: What is said of its versions.
        qe: What is said of the quoting enclave's version.
        qe_svn: That version.
        evaluation: The older of both statements' evaluation numbers.
        valid_from: From when all certificates, lists and statements count.
        valid_until: Until when.
    """

    anchor: bytes
    authority: str
    platform: PckExtension
    tcb_info: TcbInfo
    qe: TcbStatus
    qe_svn: int
    evaluation: int
    valid_from: int
    valid_until: int


def vouch(
    quote: Quote,
    endorsements: Sequence[Endorsement],
    tee: Tee,
    *,
    anchors: Collection[bytes],
    at: int,
) -> Vouched:
    """Establish that a quote is genuine, and which platform it comes from.

    Args:
        quote: Untrusted.
        endorsements: Untrusted; one bundle of collateral.
        tee: Whose statements count.
        anchors: SHA-256 of each accepted root.
        at: The instant to judge at.

    Raises:
        EvidenceError: Of another kind, not signed, or of parts that do not belong together.
        EndorsementError: The chain or collateral does not hold, or is about another platform.
        UnavailableError: Collateral is missing or does not count at that time.
        MalformedError: Something does not parse.
    """
    # 1. A quote of this TEE, signed with ECDSA on P-256 by a quoting enclave of Intel's.
    header = quote.header
    if (header.tee_type, header.att_key_type) != (tee.tee_type, ECDSA_P256):
        raise EvidenceError(
            "a quote of another TEE or with another signature", code="evidence.kind"
        )
    if header.qe_vendor_id != INTEL_QE:
        raise EvidenceError("a quote by another maker's quoting enclave", code="evidence.kind")
    # 2. The platform's PCK certificate leads to an accepted root.
    chain = _pck_chain(quote, endorsements)
    names = ({PCK_NAME}, set(PCK_CA_NAMES), {ROOT_NAME})
    anchor = require_intel_path(chain, names, anchors=anchors, at=at)
    pck, authority, _ = chain
    platform = PckExtension.of(pck)
    # 3. Its key signed an enclave's report, which binds the key that signed the quote.
    qe_report = _signed(quote.signature, pck)
    _require_certification(quote, qe_report, platform)
    EcdsaKey.from_point(quote.signature.attestation_key, "P-256").verify(
        quote.signed,
        quote.signature.signature,
        "SHA-256",
        error=EvidenceError("the signature of the quote does not hold", code="evidence.signature"),
    )
    # 4. Neither the platform nor its authority is revoked.
    collateral = collateral_of(endorsements)
    collateral.require_unrevoked(chain, at=at)
    # 5. TCB info and QE identity are signed under the same root, count now, and are about it.
    tcb_info, identity = _statements(collateral, tee, anchor, at)
    if (tcb_info.fmspc, tcb_info.pceid) != (platform.fmspc, platform.pceid):
        raise EndorsementError(
            "TCB info is about another platform",
            code="endorsement.mismatch",
            detail=f"{tcb_info.fmspc.hex()}, not {platform.fmspc.hex()}",
        )
    # 6. That enclave is Intel's quoting enclave, in a version that is not revoked.
    identity.require_is(qe_report)
    qe = choose_svn(identity.levels, qe_report.isv_svn, "the quoting enclave's version")
    certificates = (*chain, *collateral.tcb_info.path, *collateral.qe_identity.path)
    lists, statements = (collateral.root_crl, collateral.pck_crl), (tcb_info, identity)
    return Vouched(
        anchor=anchor,
        authority=PCK_CA_NAMES[authority.common_name],
        platform=platform,
        tcb_info=tcb_info,
        qe=qe,
        qe_svn=qe_report.isv_svn,
        evaluation=min(tcb_info.evaluation, identity.evaluation),
        valid_from=max(
            *(each.not_before for each in certificates),
            *(each.this_update for each in lists),
            *(each.issued for each in statements),
        ),
        valid_until=min(
            *(each.not_after for each in certificates),
            *(each.next_update for each in lists),
            *(each.next_update for each in statements),
        ),
    )


def _pck_chain(quote: Quote, endorsements: Sequence[Endorsement]) -> tuple[Certificate, ...]:
    """Return the quote's own chain, or the bundle's where the quote has none."""
    if quote.signature.certification_type == PCK_CHAIN:
        return read_chain(quote.signature.certification)
    collateral = collateral_of(endorsements)
    if collateral.pck_chain:
        return collateral.pck_chain
    raise UnavailableError(
        "neither quote nor collateral has the platform's PCK certificate",
        code="endorsement.missing",
        hint="fetch the PCK certificate for this platform",
    )


def _require_certification(quote: Quote, report: EnclaveReport, platform: PckExtension) -> None:
    """Check what a quote says of its platform in the place of a chain, as far as anybody can.

    It says where the chain is to be had, and decides nothing; what was signed must agree with it.
    An encrypted PPID is readable by nobody but Intel.
    """
    kind, content = quote.signature.certification_type, quote.signature.certification
    if kind == PCK_CHAIN:
        return
    if len(content) != PLATFORM_BYTES.get(kind):
        raise EvidenceError("certification data of another type or length", code="evidence.kind")
    ppid, cpu_svn, pce_svn = content[:-20], content[-20:-4], content[-4:-2]
    header = quote.header.pce_svn.to_bytes(2, "little")
    if (
        (cpu_svn, content[-2:]) != (report.cpu_svn, platform.pceid)
        or (quote.body_type == SGX_BODY and pce_svn != header)
        or (kind == PLAIN_PPID and ppid != platform.ppid)
    ):
        raise EvidenceError("certification data is about another platform", code="evidence.parts")


def _signed(signature: QuoteSignature, pck: Certificate) -> EnclaveReport:
    """Return the report that the platform signed, once it is known to bind the attestation key."""
    EcdsaKey.from_spki(pck.public_key, "P-256").verify(
        signature.qe_report,
        signature.qe_report_signature,
        "SHA-256",
        error=EvidenceError(
            "the platform did not sign the quoting enclave's report", code="evidence.signature"
        ),
    )
    report = EnclaveReport.from_bytes(signature.qe_report)
    bound = sha256(signature.attestation_key + signature.qe_auth_data) + bytes(DIGEST_BYTES)
    require_equal(
        report.report_data,
        bound,
        error=EvidenceError(
            "the quoting enclave did not vouch for this key", code="evidence.parts"
        ),
    )
    return report


def _statements(
    collateral: Collateral, tee: Tee, anchor: bytes, at: int
) -> tuple[TcbInfo, QeIdentity]:
    """Check both statements; only text that Intel signed is parsed."""
    collateral.require_signed(anchor=anchor, at=at)
    tcb_info = read_tcb_info(collateral.tcb_info.text)
    identity = read_qe_identity(collateral.qe_identity.text)
    for what, each in (("TCB info", tcb_info), ("the QE identity", identity)):
        require_current(what, each.issued, each.next_update, at=at)
    if (tcb_info.id, identity.id) != (tee.tcb_id, tee.qe_id):
        raise EndorsementError(
            "TCB info or QE identity is about another TEE", code="endorsement.mismatch"
        )
    return tcb_info, identity
