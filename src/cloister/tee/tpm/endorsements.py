"""Who vouches for an attestation key: a pinned digest of it, or certificates to a pinned root.

Spec: tpm-evidence-v1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import (
    ECDSA_SHA256,
    ECDSA_SHA384,
    RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384,
    Certificate,
    RevocationList,
    read_pem_chain,
    require_path,
)
from cloister.crypto.digest import sha256
from cloister.errors import EndorsementError, MalformedError

__all__ = ["CHAIN_TYPE", "LIST_TYPE", "TpmEndorsements", "Voucher"]

CHAIN_TYPE: Final = "application/pem-certificate-chain"
LIST_TYPE: Final = "application/pkix-crl"

RSA_PKCS1_SHA512: Final = "1.2.840.113549.1.1.13"
_ALGORITHMS: Final = (
    RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512,
    ECDSA_SHA256,
    ECDSA_SHA384,
)
_KEY_USAGE: Final = "2.5.29.15"
_ALTERNATIVE_NAME: Final = "2.5.29.17"
_DIGITAL_SIGNATURE: Final = 0x80
_MAX_CERTIFICATES: Final = 6
_MAX_LISTS: Final = 6


@dataclass(frozen=True, slots=True)
class Voucher:
    """Who vouches for a key.

    Attributes:
        anchor: What was pinned: SHA-256 of a root's certificate, or of the key itself.
        pinned: True where it is the key itself.
        subject: The certificate's common name; empty where there is none.
        revocation_checked: Whether each certificate below the root was looked for in a list.
    """

    anchor: bytes
    pinned: bool
    subject: str
    revocation_checked: bool


@dataclass(frozen=True, slots=True)
class TpmEndorsements:
    """What came along with a quote; untrusted.

    Attributes:
        path: Certificates as PEM, the attestation key's first, the root last; empty for none.
        lists: Revocation lists as DER.
    """

    path: bytes
    lists: tuple[bytes, ...]

    @classmethod
    def sort(cls, endorsements: Sequence[Endorsement]) -> TpmEndorsements:
        """Take them apart by media type.

        Raises:
            MalformedError: One too many, or of another kind (`endorsement.malformed`).
        """
        paths = [each.body for each in endorsements if each.media_type == CHAIN_TYPE]
        lists = [each.body for each in endorsements if each.media_type == LIST_TYPE]
        if len(paths) + len(lists) != len(endorsements) or len(paths) > 1:
            raise _malformed("another kind, or two chains")
        if len(lists) > _MAX_LISTS or not all(paths) or (lists and not paths):
            raise _malformed("too many lists, lists without a chain, or an empty chain")
        return cls(paths[0] if paths else b"", tuple(lists))

    def require_vouched(self, ak: bytes, anchors: Collection[bytes], *, at: int) -> Voucher:
        """Check that somebody who is pinned vouches for a key.

        Args:
            ak: DER SubjectPublicKeyInfo, untrusted.
            anchors: SHA-256 of roots' certificates, and of keys.
            at: The instant to judge at.

        Raises:
            MalformedError: A certificate or list cannot be read.
            EndorsementError: Nobody does, or a certificate is expired, revoked, or of another key.
            UnavailableError: A list does not count at that time.
        """
        if not self.path:
            identity = sha256(ak)
            if identity not in anchors:
                raise EndorsementError(
                    "the attestation key is not pinned, and nobody certifies it",
                    code="endorsement.anchor",
                )
            return Voucher(identity, pinned=True, subject="", revocation_checked=False)
        path = read_pem_chain(self.path, max_certificates=_MAX_CERTIFICATES)
        anchor = require_path(
            path,
            anchors=anchors,
            algorithms=_ALGORITHMS,
            at=at,
            understood=(_ALTERNATIVE_NAME,),
        )
        leaf = path[0]
        if len(path) == 1 or leaf.ca or not _signs(leaf):
            raise EndorsementError(
                "the first certificate is not that of a key which signs quotes",
                code="endorsement.signature",
                detail=leaf.common_name,
            )
        if leaf.public_key != ak:
            raise EndorsementError("the certificate is another key's", code="endorsement.mismatch")
        checked = self._require_not_revoked(path, at=at)
        return Voucher(anchor, pinned=False, subject=leaf.common_name, revocation_checked=checked)

    def _require_not_revoked(self, path: Sequence[Certificate], *, at: int) -> bool:
        """Look for each certificate below the root in its issuer's list."""
        left = [RevocationList.from_der(each) for each in self.lists]
        looked = 0
        for certificate, issuer in pairwise(path):
            mine = [each for each in left if each.issuer == issuer.subject]
            for each in mine:
                each.require_from(issuer, _ALGORITHMS, at=at)
                each.require_not_revoked(certificate)
                left.remove(each)
            looked += bool(mine)
        if left:
            raise EndorsementError(
                "a revocation list is of nobody in the chain", code="endorsement.mismatch"
            )
        return looked == len(path) - 1


def _signs(certificate: Certificate) -> bool:
    """Tell whether a certificate's key usage, which it must have, lets its key sign."""
    usage = certificate.extensions.get(_KEY_USAGE, b"")
    return len(usage) > 3 and bool(usage[3] & _DIGITAL_SIGNATURE)  # noqa: PLR2004  # DER of a BIT STRING: head, then bits


def _malformed(why: str) -> MalformedError:
    return MalformedError(
        "endorsements of a TPM's key cannot be read", code="endorsement.malformed", detail=why
    )
