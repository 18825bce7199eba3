"""Which endorsements a key service judges evidence by, where both sides have some.

What came along with evidence is the sender's, whose host may hold back a newer revocation list or
statement. So what was issued last counts, whoever has it. What came along must have the form that
the kind's verifier takes; otherwise it is handed on as it is, and refused there.

Spec: key-release-v1, clauses KR-100 to KR-104.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import MalformedError
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.intel.choice import newest_collateral
from cloister.tee.intel.choice import read_own as read_intel
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.layout import Quote
from cloister.tee.snp.choice import choose_certificates
from cloister.tee.snp.choice import read_own as read_amd
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import Report
from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote

__all__ = [
    "choose_for_amd",
    "choose_for_azure_snp",
    "choose_for_azure_tdx",
    "choose_for_intel",
    "may_be_others",
    "require_usable",
]


def choose_for_intel(
    evidence: Evidence, sent: Sequence[Endorsement], own: Sequence[Endorsement]
) -> Sequence[Endorsement]:
    """Choose for a quote of an enclave or of a TD.

    Raises:
        MalformedError: Quote or collateral cannot be read.
    """
    mine = [each for each in own if each.media_type == COLLATERAL_TYPE]
    proper = len(sent) <= 1 and all(each.media_type == COLLATERAL_TYPE for each in sent)
    if not mine or not proper:
        return sent
    logged = evidence.media_type == LOGGED_TYPE
    body = LoggedQuote.from_bytes(evidence.body).quote if logged else evidence.body
    newest = newest_collateral(Quote.from_bytes(body), [each.body for each in (*sent, *mine)])
    return sent if newest is None else [Endorsement(COLLATERAL_TYPE, newest)]


def choose_for_amd(
    evidence: Evidence, sent: Sequence[Endorsement], own: Sequence[Endorsement]
) -> Sequence[Endorsement]:
    """Choose for an SNP report.

    Raises:
        MalformedError: The report, or what came along with it, cannot be read.
    """
    known = {CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE}
    types = [each.media_type for each in sent]
    if not own or len(set(types)) != len(types) or not set(types) <= known:
        return sent
    mine = [each for each in own if each.media_type in known]
    return choose_certificates(Report.from_bytes(evidence.body), sent, mine)


def choose_for_azure_snp(
    evidence: Evidence, sent: Sequence[Endorsement], own: Sequence[Endorsement]
) -> Sequence[Endorsement]:
    """Choose for the report that a VM of Azure's brings; raises as `choose_for_amd`."""
    return choose_for_amd(_inner(evidence), sent, own)


def choose_for_azure_tdx(
    evidence: Evidence, sent: Sequence[Endorsement], own: Sequence[Endorsement]
) -> Sequence[Endorsement]:
    """Choose for the TD quote that a VM of Azure's brings; raises as `choose_for_intel`."""
    return choose_for_intel(_inner(evidence), sent, own)


def require_usable(endorsement: Endorsement) -> None:
    """Read what a judge means to keep, so that it cannot turn out unreadable later.

    Raises:
        MalformedError: It is of no kind that is chosen from here, or has not its form.
    """
    if endorsement.media_type == COLLATERAL_TYPE:
        read_intel(endorsement)
    elif endorsement.media_type in {CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE}:
        read_amd(endorsement)
    else:
        raise MalformedError(
            "nothing that a key service judges releases by",
            code="endorsement.malformed",
            detail=endorsement.media_type,
        )


def may_be_others(endorsement: Endorsement) -> bool:
    """Tell whether this may be about a kind that is not chosen for here, by its media type.

    Certificates and chains are GPUs' and TPMs' as well; lists have one form, whoever signs them.
    """
    return endorsement.media_type not in {COLLATERAL_TYPE, LIST_TYPE}


def _inner(evidence: Evidence) -> Evidence:
    return Evidence("", AzureEvidence.from_bytes(evidence.body).report)
