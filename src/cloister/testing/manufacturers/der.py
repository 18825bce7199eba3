"""Writing DER: what X.509 builders refuse to write as some manufacturers do; for tests only."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

__all__ = [
    "AUTHORITY",
    "DIGITAL_SIGNATURE",
    "ISSUES",
    "certificate",
    "element",
    "extension",
    "integer",
    "name",
    "oid",
    "pem",
    "revocation_list",
    "sequence",
    "utc_time",
]

_LONG: Final = 0x80
Signer = Callable[[bytes], bytes]


def element(tag: int, content: bytes) -> bytes:
    """Return one element."""
    length = len(content)
    if length < _LONG:
        return bytes([tag, length]) + content
    width = (length.bit_length() + 7) // 8
    return bytes([tag, _LONG | width]) + length.to_bytes(width, "big") + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of elements."""
    return element(0x30, b"".join(parts))


def integer(value: int) -> bytes:
    """Return an INTEGER that is not negative."""
    return element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        content += bytes(reversed(digits))
    return element(0x06, bytes(content))


def utc_time(at: int) -> bytes:
    """Return a UTCTime."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return element(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def name(common_name: str, *, organization: str) -> bytes:
    """Return a Name of an organization and a common name."""
    attributes = (("2.5.4.10", organization), ("2.5.4.3", common_name))
    return sequence(
        *(
            element(0x31, sequence(oid(kind), element(0x0C, text.encode())))
            for kind, text in attributes
        )
    )


def extension(dotted: str, value: bytes, *, critical: bool) -> bytes:
    """Return an Extension."""
    marked = b"\x01\x01\xff" if critical else b""
    return sequence(oid(dotted), marked, element(0x04, value))


AUTHORITY = extension("2.5.29.19", sequence(b"\x01\x01\xff"), critical=True)
ISSUES = extension("2.5.29.15", b"\x03\x02\x01\x06", critical=True)
DIGITAL_SIGNATURE = extension("2.5.29.15", b"\x03\x02\x07\x80", critical=True)


def certificate(
    *,
    subject: bytes,
    issuer: bytes,
    serial: int,
    validity: tuple[int, int],
    spki: bytes,
    extensions: Sequence[bytes],
    algorithm: bytes,
    sign: Signer,
) -> bytes:
    """Return a Certificate that `sign` signs."""
    signed = sequence(
        b"\xa0\x03\x02\x01\x02",
        integer(serial),
        algorithm,
        issuer,
        sequence(*(utc_time(at) for at in validity)),
        subject,
        spki,
        element(0xA3, sequence(*extensions)),
    )
    return sequence(signed, algorithm, element(0x03, b"\0" + sign(signed)))


def revocation_list(
    *,
    issuer: bytes,
    validity: tuple[int, int],
    serials: Sequence[int],
    algorithm: bytes,
    sign: Signer,
) -> bytes:
    """Return a CertificateList that `sign` signs."""
    begin, end = (utc_time(at) for at in validity)
    revoked = [sequence(integer(serial), begin) for serial in serials]
    signed = sequence(
        integer(1), algorithm, issuer, begin, end, *([sequence(*revoked)] if revoked else [])
    )
    return sequence(signed, algorithm, element(0x03, b"\0" + sign(signed)))


def pem(der: bytes) -> bytes:
    """Return a certificate as PEM."""
    text = base64.b64encode(der)
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"
