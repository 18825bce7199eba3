"""Intel's collateral: one bundle of revocation lists, TCB info and QE identity, read and judged.

What a signature says depends on neither caller nor instant: one that held is remembered by all of
its bytes. Which root is accepted, what counts when and what is revoked is judged every time.

Spec: intel-evidence-v1, clauses INTEL-10, INTEL-11 and INTEL-16 to INTEL-18.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, RevocationList
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EndorsementError, MalformedError, UnavailableError
from cloister.tee.intel.pck import (
    ALGORITHMS,
    ROOT_NAME,
    SIGNER_NAME,
    read_chain,
    require_intel_path,
)
from cloister.tee.intel.statement import require_current
from cloister.wire.strict_json import read_json

__all__ = [
    "COLLATERAL_TYPE",
    "MAX_COLLATERAL_BYTES",
    "Collateral",
    "SignedText",
    "collateral_of",
    "read_collateral",
]

COLLATERAL_TYPE: Final = "application/vnd.cloister.intel-collateral+json"
MAX_COLLATERAL_BYTES: Final = 262144
_MEMBERS: Final = frozenset(
    {
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    }
)
_PCK_CHAIN: Final = "pck_certificate_chain"
_HEX: Final = re.compile("(?:[0-9a-f]{2})*")
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class SignedText:
    """JSON text with a signature and the path of who is said to have signed it; unchecked."""

    text: bytes
    signature: bytes
    path: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class Collateral:
    """One bundle, read; nothing in it is trusted yet.

    Attributes:
        root_crl: The root's revocation list.
        pck_crl: The revocation list of a PCK authority.
        tcb_info: TCB info.
        qe_identity: QE identity.
        pck_chain: The platform's PCK chain, for a quote that lacks it; empty otherwise.
    """

    root_crl: RevocationList
    pck_crl: RevocationList
    tcb_info: SignedText
    qe_identity: SignedText
    pck_chain: tuple[Certificate, ...]

    def require_unrevoked(self, chain: Sequence[Certificate], *, at: int) -> None:
        """Check both lists, and that neither the platform nor who is above it is in them.

        Args:
            chain: The platform's path, which was checked: its certificate, authority, root.
            at: The instant to judge at.

        Raises:
            EndorsementError: A list is somebody else's (`endorsement.signature`), or somebody is
                in it (`endorsement.revoked`).
            UnavailableError: A list does not count at that time (`endorsement.stale`).
        """
        platform, authority, root = chain
        for revocations, issuer in ((self.root_crl, root), (self.pck_crl, authority)):
            _require_list(revocations, issuer)
            require_current(
                "a revocation list", revocations.this_update, revocations.next_update, at=at
            )
        for certificate in (root, authority):
            self.root_crl.require_not_revoked(certificate)
        self.pck_crl.require_not_revoked(platform)

    def require_signed(self, *, anchor: bytes, at: int) -> None:
        """Check who signed both statements, that he is not revoked, and both signatures.

        The root's list was checked before.

        Args:
            anchor: SHA-256 of the root that the platform's own chain ends in.
            at: The instant to judge at.

        Raises:
            EndorsementError: Another root, expired, revoked, or not his signature.
        """
        names = ({SIGNER_NAME}, {ROOT_NAME})
        for signed in (self.tcb_info, self.qe_identity):
            require_intel_path(signed.path, names, anchors=(anchor,), at=at)
            self.root_crl.require_not_revoked(signed.path[0])
            _require_text(signed.path[0].public_key, signed.text, signed.signature)


def collateral_of(endorsements: Sequence[Endorsement]) -> Collateral:
    """Read the one bundle that must be there.

    Raises:
        UnavailableError: There is none (`endorsement.missing`).
        MalformedError: There are several, something else, or it cannot be read.
    """
    if not endorsements:
        raise UnavailableError(
            "Intel's collateral is not there",
            code="endorsement.missing",
            hint="fetch TCB info, QE identity and revocation lists for this platform",
        )
    if len(endorsements) > 1 or endorsements[0].media_type != COLLATERAL_TYPE:
        raise _malformed("one bundle of Intel's collateral is expected, and nothing else")
    return read_collateral(endorsements[0].body)


@lru_cache(maxsize=16)
def read_collateral(body: bytes) -> Collateral:
    """Read a bundle; a pure function, and many verdicts use the same one: the last few stay read.

    Raises:
        MalformedError: It is not of the form that the specification gives.
    """
    bundle = read_json(
        body,
        what="Intel's collateral",
        max_bytes=MAX_COLLATERAL_BYTES,
        max_depth=1,
        code="endorsement.malformed",
    )
    if not isinstance(bundle, dict) or not all(isinstance(each, str) for each in bundle.values()):
        raise _malformed("Intel's collateral is an object of texts")
    if set(bundle) - {_PCK_CHAIN} != _MEMBERS:
        raise _malformed("Intel's collateral lacks a member, or has an unknown one")
    # Which authority signed the list is decided by the platform's own chain, not by this one.
    read_chain(_text(bundle, "pck_crl_issuer_chain"))
    return Collateral(
        root_crl=RevocationList.from_der(_octets(bundle, "root_ca_crl")),
        pck_crl=RevocationList.from_der(_octets(bundle, "pck_crl")),
        tcb_info=_signed(bundle, "tcb_info"),
        qe_identity=_signed(bundle, "qe_identity"),
        pck_chain=read_chain(_text(bundle, _PCK_CHAIN)) if _PCK_CHAIN in bundle else (),
    )


@lru_cache(maxsize=32)
def _require_list(revocations: RevocationList, issuer: Certificate) -> None:
    """Check a list's signature, at an instant of its own; what held is remembered."""
    revocations.require_from(issuer, ALGORITHMS, at=revocations.this_update)


@lru_cache(maxsize=32)
def _require_text(public_key: bytes, text: bytes, signature: bytes) -> None:
    """Check the signature over exactly these bytes; what held is remembered by all of them."""
    EcdsaKey.from_spki(public_key, "P-256").verify(
        text,
        signature,
        "SHA-256",
        error=EndorsementError(
            "collateral was not signed by Intel's TCB signer", code="endorsement.signature"
        ),
    )


def _signed(bundle: dict[str, Any], name: str) -> SignedText:
    signature = _octets(bundle, f"{name}_signature")
    if len(signature) != _SIGNATURE_BYTES:
        raise _malformed("a signature of Intel's has 64 bytes")
    path = read_chain(_text(bundle, f"{name}_issuer_chain"))
    return SignedText(_text(bundle, name), signature, path)


def _text(bundle: dict[str, Any], name: str) -> bytes:
    value: str = bundle[name]
    return value.encode()


def _octets(bundle: dict[str, Any], name: str) -> bytes:
    value: str = bundle[name]
    if not _HEX.fullmatch(value):
        raise _malformed(f"{name} is not lower-case hexadecimal")
    return bytes.fromhex(value)


def _malformed(why: str) -> MalformedError:
    return MalformedError(why, code="endorsement.malformed")
