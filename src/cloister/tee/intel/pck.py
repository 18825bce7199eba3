"""PCK certificates: the chain from a platform's key to Intel's root, and its SGX extension.

The extension's object identifiers, under 1.2.840.113741.1.13.1: .1 PPID, .2 TCB (.1 to .16
components, .17 PCE SVN, .18 CPU SVN), .3 PCE-ID, .4 FMSPC, .5 SGX type, .6 platform instance,
.7 configuration (.1 dynamic platform, .2 cached keys, .3 SMT). Intel's SGX PCK Certificate and
CRL Profile Specification, section 1.3.

Spec: intel-evidence-v1, clauses INTEL-12 to INTEL-15.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cloister.crypto.chain import ECDSA_SHA256, Certificate, read_plain_chain, require_path
from cloister.errors import EndorsementError, MalformedError
from cloister.tee.intel.der import (
    BOOLEAN,
    ENUMERATED,
    INTEGER,
    OCTETS,
    OID,
    SEQUENCE,
    Element,
    elements,
)

__all__ = [
    "ALGORITHMS",
    "PCK_CA_NAMES",
    "PCK_NAME",
    "ROOT_NAME",
    "SGX_EXTENSION",
    "SIGNER_NAME",
    "PckExtension",
    "read_chain",
    "read_extension",
    "require_intel_path",
]

ALGORITHMS: Final = (ECDSA_SHA256,)
SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
ROOT_NAME: Final = "Intel SGX Root CA"
SIGNER_NAME: Final = "Intel SGX TCB Signing"
PCK_NAME: Final = "Intel SGX PCK Certificate"
PCK_CA_NAMES: Final = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}
MAX_CHAIN: Final = 3
_ARC: Final = bytes.fromhex("2a864886f84d010d01")
_P256_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_SPKI_BYTES: Final = 91
_COMPONENTS: Final = 16
_FLAGS: Final = {1: "dynamic_platform", 2: "cached_keys", 3: "smt_enabled"}


@dataclass(frozen=True, slots=True)
class PckExtension:
    """What Intel certified about the platform whose key this is.

    Attributes:
        ppid: Names the processor or package, 16 bytes.
        components: SVNs of the sixteen TCB components.
        pcesvn: SVN of the provisioning certification enclave.
        cpusvn: The raw CPU SVN.
        pceid: Which PCE, 2 bytes.
        fmspc: Family, model, stepping, platform and custom SKU, 6 bytes.
        sgx_type: 0 standard, 1 scalable, 2 scalable with integrity.
        platform_instance_id: Names a machine of several packages; empty where there is one.
        flags: `dynamic_platform`, `cached_keys`, `smt_enabled`, as far as they are certified.
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes
    flags: Mapping[str, bool]

    @classmethod
    def of(cls, certificate: Certificate) -> PckExtension:
        """Read the extension of a certificate that was issued to a platform.

        Raises:
            MalformedError: It has none, or one of another form.
        """
        try:
            return read_extension(certificate.extensions[SGX_EXTENSION])
        except (KeyError, ValueError) as e:
            raise MalformedError(
                "a PCK certificate has no SGX extension of the known form",
                code="certificate.malformed",
                detail=str(e),
            ) from e


@lru_cache(maxsize=64)
def read_chain(text: bytes) -> tuple[Certificate, ...]:
    """Read at most three certificates, leaf first; reading says nothing about trust.

    A pure function of the bytes, and most evidence brings the same ones: the last few stay read.
    One text stands for a chain, but for its last line feed, and one zero byte at its end: the
    quoting library counts the terminator of its string.

    Raises:
        MalformedError: They are not, or not written as `to_pem` writes them.
    """
    return tuple(read_plain_chain(text.removesuffix(b"\0"), max_certificates=MAX_CHAIN))


def require_intel_path(
    path: Sequence[Certificate],
    names: Sequence[Collection[str]],
    *,
    anchors: Collection[bytes],
    at: int,
) -> bytes:
    """Check a path of Intel's profile: names in their places, P-256 alone, to a pinned root.

    Names matter: without them a platform's own key could sign the list of good platforms.

    Args:
        path: The leaf first, its root last.
        names: The common names that each place may have.
        anchors: SHA-256 of each root certificate that the caller accepts.
        at: The instant to judge at.

    Returns:
        The root's fingerprint.

    Raises:
        EndorsementError: As `require_path`; another name in a place is `endorsement.mismatch`, a
            key on another curve `endorsement.signature`.
    """
    if not path or path[-1].fingerprint not in anchors:
        raise EndorsementError(
            "the certificates do not lead to a root that is accepted", code="endorsement.anchor"
        )
    for certificate in path:
        certificate.require_valid(at=at)
    _require_sound(tuple(path))
    if len(path) != len(names) or any(
        certificate.common_name not in allowed
        for certificate, allowed in zip(path, names, strict=True)
    ):
        raise EndorsementError(
            "the certificates are not the ones that stand there in Intel's hierarchy",
            code="endorsement.mismatch",
            detail=", ".join(each.common_name for each in path),
        )
    return path[-1].fingerprint


@lru_cache(maxsize=64)
def _require_sound(path: tuple[Certificate, ...]) -> None:
    """Check what does not depend on caller or instant: signatures, places, curves.

    It is checked at an instant of the path's own; what held is remembered for the same
    certificates, what did not is not.
    """
    begins = max(certificate.not_before for certificate in path)
    require_path(path, anchors=(path[-1].fingerprint,), algorithms=ALGORITHMS, at=begins)
    for certificate in path:
        key = certificate.public_key
        if len(key) != _SPKI_BYTES or not key.startswith(_P256_SPKI):
            raise EndorsementError(
                "a certificate's key is not on P-256", code="endorsement.signature"
            )


@lru_cache(maxsize=64)
def read_extension(der: bytes) -> PckExtension:
    """Read the extension's value; a pure function, so the last few stay read.

    Raises:
        MalformedError: It is not DER.
        KeyError: Something is missing.
        ValueError: Something has another form.
    """
    found = _by_number(_only(elements(der), SEQUENCE), _ARC)
    tcb = _by_number(_typed(found[2], SEQUENCE), _ARC + b"\x02")
    if any(number not in tcb for number in range(1, _COMPONENTS + 3)):
        raise ValueError("a component is missing")
    flags = _by_number(_typed(found.get(7, (SEQUENCE, b"")), SEQUENCE), _ARC + b"\x07")
    return PckExtension(
        ppid=_octets(found[1], 16),
        components=tuple(_integer(tcb[number], 1) for number in range(1, _COMPONENTS + 1)),
        pcesvn=_integer(tcb[_COMPONENTS + 1], 2),
        cpusvn=_octets(tcb[_COMPONENTS + 2], 16),
        pceid=_octets(found[3], 2),
        fmspc=_octets(found[4], 6),
        sgx_type=_integer(found[5], 1, tag=ENUMERATED),
        platform_instance_id=_octets(found[6], 16) if 6 in found else b"",  # noqa: PLR2004  # the extension's own number
        flags=MappingProxyType(
            {
                name: _typed(flags[number], BOOLEAN) == b"\xff"
                for number, name in _FLAGS.items()
                if number in flags
            }
        ),
    )


def _by_number(data: bytes, arc: bytes) -> dict[int, Element]:
    """Read a sequence of pairs of an identifier, one below `arc`, and its value."""
    found: dict[int, Element] = {}
    for tag, content in elements(data):
        if tag != SEQUENCE:
            raise ValueError("not a pair")
        name, value = elements(content)
        number = name[1].removeprefix(arc)
        if name[0] != OID or len(name[1]) != len(arc) + 1 or len(number) != 1:
            raise ValueError("not an identifier of Intel's")
        if number[0] in found:
            raise ValueError("a value stands twice")
        found[number[0]] = value
    return found


def _only(found: list[Element], tag: int) -> bytes:
    (element,) = found
    return _typed(element, tag)


def _typed(element: Element, tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError("a value of another type")
    return element[1]


def _octets(element: Element, length: int) -> bytes:
    value = _typed(element, OCTETS)
    if len(value) != length:
        raise ValueError("a value of another length")
    return value


def _integer(element: Element, octets: int, *, tag: int = INTEGER) -> int:
    value = int.from_bytes(_typed(element, tag), signed=True)
    if not element[1] or not 0 <= value < 1 << (8 * octets):
        raise ValueError("a number out of its range")
    return value
