"""Of AMD's certificates and lists from several sources, what counts for one report.

Certificates have no newer and older: those that came along are used, and the judge's own where
none came. Of revocation lists the newest counts. Nothing is trusted here: all of it is judged
afterwards.

Spec: snp-evidence-v1, clause SNP-19.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, RevocationList, read_pem_chain
from cloister.tee.snp.certificate import HARDWARE_ID, PRODUCT_NAME, SPL, ChipCertificate
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import PRODUCTS, TCB_PARTS, Report

__all__ = ["choose_certificates", "read_own"]


def choose_certificates(
    report: Report, sent: Sequence[Endorsement], own: Sequence[Endorsement]
) -> list[Endorsement]:
    """Return at most one certificate, one chain and one list for a report.

    Args:
        report: Untrusted.
        sent: Untrusted; at most one of each kind.
        own: The judge's, about any chip; `read_own` has read each.

    Raises:
        MalformedError: What came along cannot be read.
    """
    leaf = _sent(sent, CERTIFICATE_TYPE) or _own_leaf(report, own)
    if leaf is None:
        return [*sent]
    chain = _sent(sent, CHAIN_TYPE) or _own_chain(leaf, own)
    chosen = [leaf] if chain is None else [leaf, chain]
    if chain is None:
        return chosen
    root = _chain(chain.body)[-1]
    lists = [
        each
        for each in (*sent, *own)
        if each.media_type == LIST_TYPE and _listed(each.body).issuer == root.subject
    ]
    # A list of another issuer's that came along is left for the verifier to refuse.
    lists = lists or [each for each in sent if each.media_type == LIST_TYPE]
    if lists:
        chosen.append(max(lists, key=lambda each: _listed(each.body).this_update))
    return chosen


def read_own(endorsement: Endorsement) -> None:
    """Read what a judge keeps himself, once.

    Raises:
        MalformedError: It is nothing of AMD's form.
    """
    if endorsement.media_type == CERTIFICATE_TYPE:
        _leaf(endorsement.body)
    elif endorsement.media_type == CHAIN_TYPE:
        _chain(endorsement.body)
    else:
        _listed(endorsement.body)


def _sent(sent: Sequence[Endorsement], media_type: str) -> Endorsement | None:
    return next((each for each in sent if each.media_type == media_type), None)


def _own_leaf(report: Report, own: Sequence[Endorsement]) -> Endorsement | None:
    for each in own:
        if each.media_type == CERTIFICATE_TYPE and _is_key_of(report, _leaf(each.body)):
            return each
    return None


def _is_key_of(report: Report, certificate: ChipCertificate) -> bool:
    """Tell whether a certificate is worth trying; the verifier says whether it is the one."""
    if certificate.common_name != f"SEV-{report.signing_key}":
        return False
    product = next(
        (name for name in PRODUCTS if certificate.text(PRODUCT_NAME).partition("-")[0] == name),
        None,
    )
    if product is None:
        return False
    hardware = certificate.extensions.get(HARDWARE_ID, b"")
    size = 8 if product == "Turin" else 64
    if any(report.chip_id) and hardware[-size:] != report.chip_id[:size]:
        return False
    parts = zip(TCB_PARTS[product], report.reported_tcb, strict=True)
    return all(certificate.number(SPL[part]) == version for part, version in parts)


def _own_chain(leaf: Endorsement, own: Sequence[Endorsement]) -> Endorsement | None:
    issuer = _leaf(leaf.body).issuer
    for each in own:
        if each.media_type == CHAIN_TYPE and _chain(each.body)[0].subject == issuer:
            return each
    return None


@lru_cache(maxsize=512)
def _leaf(der: bytes) -> ChipCertificate:
    return ChipCertificate.from_der(der)


@lru_cache(maxsize=16)
def _chain(pem: bytes) -> tuple[Certificate, ...]:
    return tuple(read_pem_chain(pem, max_certificates=2))


@lru_cache(maxsize=16)
def _listed(der: bytes) -> RevocationList:
    return RevocationList.from_der(der)
