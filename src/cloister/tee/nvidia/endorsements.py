"""What NVIDIA says about GPUs and their software: chains, manifests, revocation. Never fetched.

========================================== =====================================================
media type                                 body
========================================== =====================================================
`application/pem-certificate-chain`        one device's chain, leaf first, for a bare report
`application/swid+xml`                     a reference integrity manifest
`application/pkix-crl`                     a revocation list, DER
`application/ocsp-response`                an OCSP response, DER
========================================== =====================================================

Spec: nvidia-evidence-v1, clauses NV-10, NV-11 and NV-27 to NV-30.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, RevocationList
from cloister.crypto.ocsp import OcspResponse
from cloister.errors import MalformedError
from cloister.tee.nvidia.paths import ALGORITHMS, read_chain, require_list
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim

__all__ = ["CHAIN_MEDIA_TYPE", "CRL_MEDIA_TYPE", "OCSP_MEDIA_TYPE", "Collateral"]

CHAIN_MEDIA_TYPE: Final = "application/pem-certificate-chain"
CRL_MEDIA_TYPE: Final = "application/pkix-crl"
OCSP_MEDIA_TYPE: Final = "application/ocsp-response"
_MAX_ENDORSEMENTS: Final = 64
_MAX_TOTAL_BYTES: Final = 1 << 21


@dataclass(frozen=True, slots=True)
class Collateral:
    """Endorsements, parsed; nobody has checked their signatures yet.

    Attributes:
        chains: Chains of devices.
        rims: Manifests.
        lists: Revocation lists.
        responses: OCSP responses.
    """

    chains: tuple[tuple[Certificate, ...], ...]
    rims: tuple[Rim, ...]
    lists: tuple[RevocationList, ...]
    responses: tuple[OcspResponse, ...]

    @classmethod
    def from_endorsements(cls, endorsements: Sequence[Endorsement]) -> Collateral:
        """Read them all; one that is of no use here is a mistake.

        Raises:
            MalformedError: Too many, one of another kind, or one that cannot be read.
        """
        total = sum(len(each.body) for each in endorsements)
        if len(endorsements) > _MAX_ENDORSEMENTS or total > _MAX_TOTAL_BYTES:
            raise MalformedError("too many endorsements", code="endorsement.malformed")
        bodies: dict[str, list[bytes]] = {
            kind: [] for kind in (CHAIN_MEDIA_TYPE, RIM_MEDIA_TYPE, CRL_MEDIA_TYPE, OCSP_MEDIA_TYPE)
        }
        for each in endorsements:
            if each.media_type not in bodies:
                raise MalformedError(
                    "an endorsement is of a kind that NVIDIA GPUs do not have",
                    code="endorsement.malformed",
                    detail=each.media_type,
                )
            bodies[each.media_type].append(each.body)
        return cls(
            chains=tuple(read_chain(body) for body in bodies[CHAIN_MEDIA_TYPE]),
            rims=tuple(Rim.from_xml(body) for body in bodies[RIM_MEDIA_TYPE]),
            lists=tuple(RevocationList.from_der(body) for body in bodies[CRL_MEDIA_TYPE]),
            responses=tuple(OcspResponse.from_der(body) for body in bodies[OCSP_MEDIA_TYPE]),
        )

    def vouches(self, path: Sequence[Certificate], *, at: int) -> bool:
        """Tell whether somebody says of each certificate of a path, but its root, that it is good.

        Args:
            path: Checked to its root.
            at: The instant to judge at.

        Raises:
            EndorsementError: One is revoked, or a list or response about it is forged.
            UnavailableError: A list or response about it does not count at that time.
        """
        good = [self._vouches(certificate, issuer, at=at) for certificate, issuer in pairwise(path)]
        return all(good)

    def _vouches(self, certificate: Certificate, issuer: Certificate, *, at: int) -> bool:
        good = False
        for each in self.lists:
            if each.issuer == issuer.subject:
                require_list(each, issuer, at=at)
                each.require_not_revoked(certificate)
                good = True
        for response in self.responses:
            good |= response.vouches(certificate, issuer, ALGORITHMS, at=at)
        return good
