"""Certificates of NVIDIA's hierarchies: read, and their paths and revocation lists checked.

What a certificate says and who signed it depends on neither caller nor instant: what was read, and
what held, is remembered by all of its bytes. Which root is accepted and what counts when is judged
every time; what did not hold is never remembered.

Spec: nvidia-evidence-v1, clauses NV-11, NV-28 and NV-30.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from cloister.crypto.chain import (
    ECDSA_SHA384,
    Certificate,
    RevocationList,
    read_pem_chain,
    read_plain_chain,
    require_path,
)
from cloister.errors import EndorsementError

__all__ = [
    "ALGORITHMS",
    "read_certificate",
    "read_chain",
    "read_listed_chain",
    "require_list",
    "require_nvidia_path",
]

ALGORITHMS: Final = frozenset({ECDSA_SHA384})
# Each GPU has three certificates of its own, and shares two with all of its product.
_REMEMBERED_CERTIFICATES: Final = 256
_REMEMBERED_PATHS: Final = 128
# A chain's text may be long, and is kept beside what was read of it.
_REMEMBERED_TEXTS: Final = 32
_REMEMBERED_LISTS: Final = 16


@lru_cache(maxsize=_REMEMBERED_CERTIFICATES)
def read_certificate(der: bytes) -> Certificate:
    """Read a certificate; a pure function, and reading says nothing about trust.

    Raises:
        MalformedError: It is none.
    """
    return Certificate.from_der(der)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def read_chain(text: bytes) -> tuple[Certificate, ...]:
    """Read the chain that comes beside a bare report, leaf first.

    Raises:
        MalformedError: It is none.
    """
    return tuple(read_pem_chain(text))


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def read_listed_chain(text: bytes) -> tuple[Certificate, ...]:
    """Read a chain of an evidence list, of which there is one text.

    Raises:
        MalformedError: It is none, or written in another way.
    """
    return tuple(read_plain_chain(text))


def require_nvidia_path(
    path: Sequence[Certificate], *, anchors: Collection[bytes], at: int
) -> bytes:
    """Check a path from a leaf to a pinned root; returns the root's fingerprint.

    Args:
        path: The leaf first, its root last.
        anchors: SHA-256 of each root certificate that the caller accepts.
        at: The instant to judge at.

    Raises:
        EndorsementError: As `require_path`.
    """
    # What is not pinned is not worth a signature's check.
    if not path or path[-1].fingerprint not in anchors:
        raise EndorsementError(
            "the certificates do not lead to a root that is accepted", code="endorsement.anchor"
        )
    for certificate in path:
        certificate.require_valid(at=at)
    return _require_sound(tuple(certificate.der for certificate in path))


def require_list(revocations: RevocationList, issuer: Certificate, *, at: int) -> None:
    """Check who signed a revocation list, and that it counts at an instant.

    Raises:
        EndorsementError: Somebody else signed it (`endorsement.signature`).
        UnavailableError: It is from later, or too old (`endorsement.stale`).
    """
    _require_signed(revocations.der, issuer.der)
    revocations.require_current(at=at)


@lru_cache(maxsize=_REMEMBERED_PATHS)
def _require_sound(path: tuple[bytes, ...]) -> bytes:
    """Check signatures and places, at an instant of the path's own: the caller judges the time."""
    certificates = [read_certificate(der) for der in path]
    return require_path(
        certificates,
        anchors=(certificates[-1].fingerprint,),
        algorithms=ALGORITHMS,
        at=max(certificate.not_before for certificate in certificates),
    )


@lru_cache(maxsize=_REMEMBERED_LISTS)
def _require_signed(revocations: bytes, issuer: bytes) -> None:
    listed = RevocationList.from_der(revocations)
    listed.require_from(read_certificate(issuer), ALGORITHMS, at=listed.this_update)
