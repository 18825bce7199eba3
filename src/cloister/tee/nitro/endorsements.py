"""Endorsements of Nitro documents: there are none; a document brings its chain.

Its certificates live for hours, and AWS says to verify without revocation lists.

Spec: nitro-evidence-v1, clauses NIT-5, NIT-11 and NIT-12.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import ECDSA_SHA384, Certificate, require_path
from cloister.errors import MalformedError

__all__ = ["require_bundle", "require_none"]

_ALGORITHMS: Final = frozenset({ECDSA_SHA384})


def require_none(endorsements: Sequence[Endorsement]) -> None:
    """Refuse endorsements, which nothing here could use.

    Raises:
        MalformedError: There are some (`endorsement.malformed`).
    """
    if endorsements:
        raise MalformedError("Nitro documents have no endorsements", code="endorsement.malformed")


def require_bundle(
    certificate: bytes, cabundle: Sequence[bytes], anchors: Collection[bytes], *, at: int
) -> tuple[Certificate, bytes]:
    """Check the path from the signer to the root; returns the signer and the root's fingerprint.

    Args:
        certificate: DER of the signer's certificate.
        cabundle: DER of its issuers, the root first.
        anchors: SHA-256 of each accepted root.
        at: The instant to judge at.

    Raises:
        MalformedError: One cannot be read.
        EndorsementError: The path did not hold.
    """
    path = [Certificate.from_der(each) for each in (certificate, *reversed(cabundle))]
    return path[0], require_path(path, anchors=anchors, algorithms=_ALGORITHMS, at=at)
