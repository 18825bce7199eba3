"""What vouches, brought into the form in which a kind's verifier takes it.

People have certificates as one file or several, in DER or PEM, and in any order. Whose certificate
is whose follows from the names in them, and nothing is trusted for it: signatures and roots are
judged by the verifier, and what has no one meaning is left as it is, so that he refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, to_pem
from cloister.errors import CloisterError
from cloister.tee.endorsement_files import certificate_blocks, pem_body
from cloister.tee.snp.certificate import ChipCertificate

__all__ = ["fit", "several"]

_CERTIFICATE: Final = "application/pkix-cert"
_CHAIN: Final = "application/pem-certificate-chain"
_X509: Final = frozenset({_CERTIFICATE, _CHAIN, "application/pkix-crl"})
_INTEL: Final = frozenset({"application/vnd.cloister.intel-collateral+json"})
_WANTED: Final[Mapping[str, frozenset[str]]] = {
    "sgx": _INTEL,
    "tdx": _INTEL,
    "snp": _X509,
    "tpm": _X509,
    "azure-snp": _X509,
    "azure-tdx": _INTEL,
    "nvidia": _X509 | {"application/swid+xml", "application/ocsp-response"},
    "cca": frozenset({"application/jwk+json"}),
}
# Kinds that take one of each form: of several, the one that is about the evidence is chosen.
_ONE_OF_EACH: Final = frozenset({"sgx", "tdx", "azure-tdx", "snp", "azure-snp"})


def fit(kind: str, endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Leave out what is of no use to a kind, and put certificates together; as often as one likes.

    Args:
        kind: A root of trust's name.
        endorsements: Untrusted.
    """
    wanted = _WANTED.get(kind, frozenset())
    fitting = [each for each in endorsements if each.media_type in wanted]
    if kind in {"snp", "azure-snp"}:
        return _amd(fitting)
    return _one_path(fitting) if kind in {"tpm", "nvidia"} else fitting


def several(kind: str, endorsements: Sequence[Endorsement]) -> bool:
    """Tell whether there is more than the one of each form that a kind takes."""
    forms = [each.media_type for each in endorsements]
    return kind in _ONE_OF_EACH and len(set(forms)) != len(forms)


def _amd(endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Tell chips' certificates, issuers and roots apart, and pair each issuer with its root."""
    bodies = [der for each in endorsements for der in _certificates(each)]
    chips: list[bytes] = []
    issuers: list[Certificate] = []
    roots: list[Certificate] = []
    for body in dict.fromkeys(bodies):
        found = None if _is_chips(body) else _read(body)
        if found is None:
            chips.append(body)
        else:
            (roots if found.common_name.startswith("ARK-") else issuers).append(found)
    pairs = [
        (issuer.der, root.der)
        for issuer in issuers
        for root in roots
        if issuer.issuer == root.subject
    ]
    if not pairs:
        return list(endorsements)
    return [
        *(Endorsement(_CERTIFICATE, each) for each in chips),
        *(Endorsement(_CHAIN, to_pem(pair)) for pair in pairs),
        *(each for each in endorsements if each.media_type not in {_CERTIFICATE, _CHAIN}),
    ]


def _is_chips(der: bytes) -> bool:
    """Tell a chip's certificate by AMD's own reader; its serial number, zero, is against X.509."""
    try:
        return ChipCertificate.from_der(der).common_name in {"SEV-VCEK", "SEV-VLEK"}
    except CloisterError:
        return False


def _one_path(endorsements: Sequence[Endorsement]) -> list[Endorsement]:
    """Put single certificates before the chain that they belong to, as one path, leaf first."""
    single = [each.body for each in endorsements if each.media_type == _CERTIFICATE]
    chains = [each for each in endorsements if each.media_type == _CHAIN]
    others = [each for each in endorsements if each.media_type not in {_CERTIFICATE, _CHAIN}]
    if not single:
        return [*(_leaf_first(_certificates(each), each) for each in chains), *others]
    rest = b"".join(each.body for each in chains)
    path = Endorsement(_CHAIN, to_pem(single) + rest)
    return [_leaf_first(_certificates(path), path), *others]


def _leaf_first(bodies: Sequence[bytes], chain: Endorsement) -> Endorsement:
    """Order certificates that form one path, each issued by the next; others stay as they are."""
    found = [_read(body) for body in dict.fromkeys(bodies)]
    known = [each for each in found if each is not None]
    by_name = {each.subject: each for each in known}
    above = {each.issuer for each in known if each.issuer != each.subject}
    leaves = [each for each in known if each.subject not in above]
    if len(known) != len(found) or len(by_name) != len(found) or len(leaves) != 1:
        return chain
    path = [leaves[0]]
    while path[-1].issuer != path[-1].subject and path[-1].issuer in by_name:
        path.append(by_name[path[-1].issuer])
        if len(path) > len(found):
            return chain
    ordered = [each.der for each in path]
    if len(ordered) != len(found) or ordered == list(bodies):
        return chain
    return Endorsement(_CHAIN, to_pem(ordered))


def _certificates(endorsement: Endorsement) -> list[bytes]:
    if endorsement.media_type == _CERTIFICATE:
        return [endorsement.body]
    if endorsement.media_type != _CHAIN:
        return []
    return [pem_body(each) for each in certificate_blocks(endorsement.body)]


def _read(der: bytes) -> Certificate | None:
    try:
        return Certificate.from_der(der)
    except CloisterError:  # whoever judges it says why
        return None
