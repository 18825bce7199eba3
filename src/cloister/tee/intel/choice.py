"""Of several bundles of Intel's collateral, what counts for one quote: of each part the newest.

Nothing is trusted here: signatures, dates and revocation are judged afterwards, as of any bundle.
Whoever makes a part look newer than it is has it refused there; whoever sends an older one than the
judge has is judged by the judge's.

Spec: intel-evidence-v1, clause INTEL-19.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate
from cloister.tee.intel.endorsements import Collateral, read_collateral
from cloister.tee.intel.layout import PCK_CHAIN, TEE_TDX, Quote
from cloister.tee.intel.pck import PckExtension, read_chain
from cloister.tee.intel.qe_identity import QeIdentity, read_qe_identity
from cloister.tee.intel.tcb_info import TcbInfo, read_tcb_info

__all__ = ["newest_collateral", "read_own"]

_ROOT_LIST = ("root_ca_crl",)
_PCK_LIST = ("pck_crl", "pck_crl_issuer_chain")
_TCB = ("tcb_info", "tcb_info_signature", "tcb_info_issuer_chain")
_QE = ("qe_identity", "qe_identity_signature", "qe_identity_issuer_chain")


@dataclass(frozen=True, slots=True)
class _Bundle:
    body: bytes
    read: Collateral
    tcb_info: TcbInfo
    identity: QeIdentity

    @classmethod
    def of(cls, body: bytes) -> _Bundle:
        found = read_collateral(body)
        tcb_info = read_tcb_info(found.tcb_info.text)
        return cls(body, found, tcb_info, read_qe_identity(found.qe_identity.text))


@lru_cache(maxsize=64)  # a judge's own are looked at for each quote
def _bundle(body: bytes) -> _Bundle:
    return _Bundle.of(body)


def newest_collateral(quote: Quote, bodies: Sequence[bytes]) -> bytes | None:
    """Return one bundle made of the newest parts about a quote's platform; None for none about it.

    Args:
        quote: Untrusted.
        bodies: Bundles, untrusted, about any platform.

    Raises:
        MalformedError: One of them, or the quote's certificates, cannot be read.
    """
    bundles = [_bundle(body) for body in bodies]
    chain = _chain(quote, bundles)
    return None if not chain else _newest(chain, tuple(bodies), quote.header.tee_type)


def _chain(quote: Quote, bundles: Sequence[_Bundle]) -> tuple[Certificate, ...]:
    """Return the platform's path: the quote's own, or else that of the first bundle with one."""
    if quote.signature.certification_type == PCK_CHAIN:
        return read_chain(quote.signature.certification)
    return next((each.read.pck_chain for each in bundles if each.read.pck_chain), ())


@lru_cache(maxsize=16)
def _newest(
    chain: tuple[Certificate, ...], bodies: tuple[bytes, ...], tee_type: int
) -> bytes | None:
    platform = PckExtension.of(chain[0])
    tdx = tee_type == TEE_TDX
    about = [
        each
        for each in map(_bundle, bodies)
        # Another manufacturer's statements about a platform of the same model are none about it.
        if each.read.tcb_info.path[-1].fingerprint == chain[-1].fingerprint
        and each.tcb_info.id == ("TDX" if tdx else "SGX")
        and each.identity.id == ("TD_QE" if tdx else "QE")
        and (each.tcb_info.fmspc, each.tcb_info.pceid) == (platform.fmspc, platform.pceid)
    ]
    if not about:
        return None
    # A model may be certified by either authority; each has a list of its own.
    listed = [each for each in about if each.read.pck_crl.issuer == chain[0].issuer] or about
    parts = (
        (_ROOT_LIST, max(about, key=lambda each: each.read.root_crl.this_update)),
        (_PCK_LIST, max(listed, key=lambda each: each.read.pck_crl.this_update)),
        (_TCB, max(about, key=lambda each: (each.tcb_info.evaluation, each.tcb_info.issued))),
        (_QE, max(about, key=lambda each: (each.identity.evaluation, each.identity.issued))),
    )
    sources = {bundle.body for _, bundle in parts}
    if len(sources) == 1:
        return sources.pop()
    made = json.loads(about[0].body)
    for names, bundle in parts:
        members = json.loads(bundle.body)
        made |= {name: members[name] for name in names}
    return json.dumps(made, sort_keys=True).encode()


def read_own(endorsement: Endorsement) -> None:
    """Read what a judge keeps himself, once.

    Raises:
        MalformedError: It is no bundle of collateral with statements that can be read.
    """
    _bundle(endorsement.body)
