"""What an endorsement is, whom it is about, and from when to when it counts; read, not judged.

Dates and names are what the bytes say. Whether they are an endorser's is judged with evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import Certificate, RevocationList, read_pem_chain
from cloister.crypto.ocsp import OcspResponse
from cloister.endorsing.questions import Window
from cloister.errors import MalformedError
from cloister.tee.cca.endorsements import anchor_of_key
from cloister.tee.intel.endorsements import COLLATERAL_TYPE, read_collateral
from cloister.tee.intel.qe_identity import read_qe_identity
from cloister.tee.intel.tcb_info import read_tcb_info
from cloister.tee.nvidia.endorsements import OCSP_MEDIA_TYPE
from cloister.tee.nvidia.rim import RIM_MEDIA_TYPE, Rim
from cloister.tee.snp.certificate import HARDWARE_ID, ChipCertificate
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE

__all__ = ["Contents", "Part", "describe"]

_AMD_KEYS: Final = frozenset({"SEV-VCEK", "SEV-VLEK"})
_JWK_TYPE: Final = "application/jwk+json"
_SHOWN_ID: Final = 16


@dataclass(frozen=True, slots=True)
class Part:
    """One thing with dates in an endorsement."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True)
class Contents:
    """What one endorsement is.

    Attributes:
        what: Its kind, for people.
        about: Whom or what it is about; printable.
        parts: All that has dates in it; empty for a bare key.
    """

    what: str
    about: str
    parts: tuple[Part, ...]

    @property
    def window(self) -> Window | None:
        """When all of it counts; None where nothing has a date."""
        if not self.parts:
            return None
        return Window(
            max(part.window.start for part in self.parts),
            min(part.window.end for part in self.parts),
        )


def describe(endorsement: Endorsement) -> Contents:
    """Read an endorsement.

    Raises:
        MalformedError: It cannot be read, or nobody here knows its kind.
    """
    reader = _READERS.get(endorsement.media_type)
    if reader is None:
        raise MalformedError(
            "an endorsement of a kind that is not known",
            code="endorsement.malformed",
            detail=endorsement.media_type,
        )
    return reader(endorsement.body)


def _certificate(body: bytes) -> Contents:
    # AMD's own have a serial number that other readers are about to refuse.
    try:
        chip = ChipCertificate.from_der(body)
    except MalformedError:
        chip = None
    if chip is not None and chip.common_name in _AMD_KEYS:
        identity = chip.extensions.get(HARDWARE_ID, b"").hex()
        about = f"{chip.common_name} {identity[:_SHOWN_ID]}".strip()
        return Contents(
            "certificate", about, (Part(chip.common_name, Window(chip.not_before, chip.not_after)),)
        )
    found = Certificate.from_der(body)
    return Contents("certificate", found.common_name, (_part(found),))


def _chain(body: bytes) -> Contents:
    path = read_pem_chain(body)
    return Contents("chain", path[0].common_name, tuple(_part(each) for each in path))


def _list(body: bytes) -> Contents:
    found = RevocationList.from_der(body)
    part = Part("revocation list", Window(found.this_update, found.next_update))
    return Contents("revocation list", found.issuer_common_name, (part,))


def _ocsp(body: bytes) -> Contents:
    found = OcspResponse.from_der(body)
    part = Part("OCSP response", Window(found.this_update, found.next_update))
    return Contents("OCSP response", ", ".join(f"{each:x}" for each in found.serials), (part,))


def _rim(body: bytes) -> Contents:
    found = Rim.from_xml(body)
    about = f"{found.content.chip} {found.content.version}"
    return Contents("manifest", about, tuple(_part(each) for each in found.path))


def _collateral(body: bytes) -> Contents:
    found = read_collateral(body)
    info = read_tcb_info(found.tcb_info.text)
    identity = read_qe_identity(found.qe_identity.text)
    dated = [
        Part("TCB info", Window(info.issued, info.next_update)),
        Part("QE identity", Window(identity.issued, identity.next_update)),
        Part("PCK revocation list", Window(found.pck_crl.this_update, found.pck_crl.next_update)),
        Part(
            "root revocation list", Window(found.root_crl.this_update, found.root_crl.next_update)
        ),
    ]
    chains = (found.tcb_info.path, found.qe_identity.path, found.pck_chain)
    signers = {each.der: _part(each) for path in chains for each in path}
    about = f"{info.id} {info.fmspc.hex()}, evaluation {info.evaluation}"
    return Contents("Intel's collateral", about, (*dated, *signers.values()))


def _key(body: bytes) -> Contents:
    return Contents("key", f"sha256:{anchor_of_key(body).hex()}", ())


def _part(certificate: Certificate) -> Part:
    window = Window(certificate.not_before, certificate.not_after)
    return Part(certificate.common_name or "a certificate", window)


_READERS: Final[Mapping[str, Callable[[bytes], Contents]]] = {
    CERTIFICATE_TYPE: _certificate,
    CHAIN_TYPE: _chain,
    LIST_TYPE: _list,
    OCSP_MEDIA_TYPE: _ocsp,
    RIM_MEDIA_TYPE: _rim,
    COLLATERAL_TYPE: _collateral,
    _JWK_TYPE: _key,
}
