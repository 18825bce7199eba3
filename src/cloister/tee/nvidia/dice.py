"""What the leaf certificate of a GPU says about the firmware that holds its key.

Two forms (TCG DICE Attestation Architecture 1.1, section 6.1; DER throughout):

- Hopper, 2.23.133.5.4.1: SEQUENCE of INTEGER 1, SubjectPublicKeyInfo, FWID;
- Blackwell, 2.23.133.5.4.1.1, DiceTcbInfo: SEQUENCE of tagged fields, of which [6] is a list of
  FWID and [7] the operational flags, a BIT STRING.

FWID is SEQUENCE of OBJECT IDENTIFIER and OCTET STRING.

Spec: nvidia-evidence-v1, clause NV-13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.crypto.chain import Certificate
from cloister.errors import MalformedError

__all__ = ["COMPOSITE_DEVICE_ID", "FLAGS", "TCB_INFO", "DiceIdentity", "is_device"]

COMPOSITE_DEVICE_ID: Final = "2.23.133.5.4.1"
TCB_INFO: Final = "2.23.133.5.4.1.1"
# Bits of OperationalFlags, the first bit first.
FLAGS: Final = {
    0: "notConfigured",
    1: "notSecure",
    2: "recovery",
    3: "debug",
    4: "notReplayProtected",
    5: "notIntegrityProtected",
    6: "notRuntimeMeasured",
    7: "notImmutable",
    8: "notTcb",
    31: "fixedWidth",
}

_SHA384: Final = bytes.fromhex("0609608648016503040202")
_SEQUENCE: Final = 0x30
_OCTETS: Final = 0x04
_FWIDS: Final = 0xA6
_OPERATIONAL_FLAGS: Final = 0x87
_FWID_BYTES: Final = 48
_LONG: Final = 0x80


@dataclass(frozen=True, slots=True)
class DiceIdentity:
    """What a leaf says.

    Attributes:
        fwid: SHA-384 of the firmware; the first where there are several.
        flags: Names of the operational flags that are set; a bit without a name is `bitN`.
    """

    fwid: bytes
    flags: tuple[str, ...]

    @classmethod
    def of(cls, leaf: Certificate) -> DiceIdentity:
        """Read a leaf's extension.

        Raises:
            MalformedError: It has neither form, or both (`evidence.malformed`).
        """
        composite = leaf.extensions.get(COMPOSITE_DEVICE_ID)
        tcb_info = leaf.extensions.get(TCB_INFO)
        if composite is not None and tcb_info is None:
            parts = list(_sequence(composite))
            if len(parts) != 3:  # noqa: PLR2004  # version, key, FWID
                raise _malformed()
            return cls(_fwid(parts[2]), ())
        if tcb_info is None or composite is not None:
            raise _malformed()
        fields = list(_sequence(tcb_info))
        if len({tag for tag, _ in fields}) != len(fields):
            raise _malformed()
        found = dict(fields)
        fwids = list(_items(found.get(_FWIDS, b"")))
        if not fwids:
            raise _malformed()
        return cls(_fwid(fwids[0]), _flags(found.get(_OPERATIONAL_FLAGS, b"\x00")))


def is_device(certificate: Certificate) -> bool:
    """Whether a certificate is of a device's firmware, and so of nothing else."""
    return bool({COMPOSITE_DEVICE_ID, TCB_INFO} & certificate.extensions.keys())


def _fwid(item: tuple[int, bytes]) -> bytes:
    tag, body = item
    if tag != _SEQUENCE or not body.startswith(_SHA384):
        raise _malformed()
    parts = list(_items(body[len(_SHA384) :]))
    if [each[0] for each in parts] != [_OCTETS] or len(parts[0][1]) != _FWID_BYTES:
        raise _malformed()
    return parts[0][1]


def _flags(bits: bytes) -> tuple[str, ...]:
    if not bits or bits[0] > 7:  # noqa: PLR2004  # unused bits of the last byte
        raise _malformed()
    return tuple(
        FLAGS.get(at, f"bit{at}")
        for at in range(8 * (len(bits) - 1))
        if bits[1 + at // 8] & (_LONG >> at % 8)
    )


def _sequence(der: bytes) -> Iterator[tuple[int, bytes]]:
    outer = list(_items(der))
    if [tag for tag, _ in outer] != [_SEQUENCE]:
        raise _malformed()
    return _items(outer[0][1])


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Split DER into tags and bodies; lengths of at most two bytes, in their shortest form."""
    at = 0
    while at < len(der):
        tag, head = der[at], der[at + 1 : at + 4]
        if head and head[0] < _LONG:
            start, length = at + 2, head[0]
        elif head[:1] == b"\x81" and len(head) > 1 and head[1] >= _LONG:
            start, length = at + 3, head[1]
        elif head[:1] == b"\x82" and len(head) > 2 and head[1]:  # noqa: PLR2004  # a DER head of three bytes
            start, length = at + 4, int.from_bytes(head[1:3])
        else:
            raise _malformed()
        at = start + length
        if at > len(der):
            raise _malformed()
        yield tag, der[start:at]


def _malformed() -> MalformedError:
    return MalformedError(
        "a GPU's certificate does not say which firmware holds its key", code="evidence.malformed"
    )
