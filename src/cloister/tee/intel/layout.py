"""Intel's quotes as frozen dataclasses, versions 3, 4 and 5; no trust, no I/O.

Offsets are those of Intel's DCAP ECDSA Quote Library API (appendix A.4, quote version 3) and TDX
DCAP Quoting Library API (appendix A.3, versions 4 and 5), and of `sgx_quote_5.h` for body type 4.
All numbers are little-endian.

    quote    0 header 48 | v5: body type 2, body size 4 | body | signature length 4 | signature
    header   0 version 2 | 2 attestation key type 2 | 4 TEE type 4 | 8 QE SVN 2 | 10 PCE SVN 2
             12 QE vendor 16 | 28 user data 20
    signature  0 signature 64 | 64 attestation key 64 | v3: QE block, v4 and v5: 6, size, QE block
    QE block   0 QE report 384 | 384 its signature 64 | authentication data 2 + n
               certification data: type 2, size 4, content

Spec: intel-evidence-v1, clauses INTEL-2 to INTEL-7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError
from cloister.wire.binary import BinaryReader

__all__ = [
    "BODY_BYTES",
    "ECDSA_P256",
    "ENCLAVE_REPORT_BYTES",
    "INTEL_QE",
    "MAX_QUOTE_BYTES",
    "PCK_CHAIN",
    "PLAIN_PPID",
    "PLATFORM_BYTES",
    "SGX_BODY",
    "TDX_BODIES",
    "TEE_SGX",
    "TEE_TDX",
    "EnclaveReport",
    "Quote",
    "QuoteHeader",
    "QuoteSignature",
]

MAX_QUOTE_BYTES: Final = 16384
ENCLAVE_REPORT_BYTES: Final = 384
TEE_SGX: Final = 0x00
TEE_TDX: Final = 0x81
ECDSA_P256: Final = 2
PCK_CHAIN: Final = 5
# Certification data in the place of a chain: a PPID, plain or encrypted, CPU SVN, PCE SVN, PCE-ID.
PLAIN_PPID: Final = 1
PLATFORM_BYTES: Final = {PLAIN_PPID: 16 + 20, 2: 256 + 20, 3: 384 + 20}
INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
SGX_BODY: Final = 1
TDX_BODIES: Final = frozenset({2, 3, 4})
BODY_BYTES: Final = {SGX_BODY: ENCLAVE_REPORT_BYTES, 2: 584, 3: 648, 4: 885}

_HEADER: Final = struct.Struct("<HHIHH16s20s")
_DESCRIPTOR: Final = struct.Struct("<HI")
_REPORT: Final = struct.Struct("<16sI12s16s16s32s32s32s32s64sHHH42s16s64s")
_LENGTH: Final = struct.Struct("<I")
_SHORT: Final = struct.Struct("<H")
_QE_REPORT_CERTIFICATION: Final = 6
_WITH_DESCRIPTOR: Final = 5
_VERSIONS: Final = (3, 4, 5)
_KEY_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class QuoteHeader:
    """The first 48 bytes; `qe_svn` and `pce_svn` are reserved in TDX quotes."""

    version: int
    att_key_type: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor_id: bytes
    user_data: bytes

    def to_bytes(self) -> bytes:
        """Return the 48 bytes."""
        return _HEADER.pack(
            self.version,
            self.att_key_type,
            self.tee_type,
            self.qe_svn,
            self.pce_svn,
            self.qe_vendor_id,
            self.user_data,
        )


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """The 384 bytes that an enclave's report body has: of the enclave, and of the QE that signs.

    cpu_svn 0, misc_select 16, isv_ext_prod_id 32, attributes 48, mr_enclave 64, mr_signer 128,
    config_id 192, isv_prod_id 256, isv_svn 258, config_svn 260, isv_family_id 304, report_data 320.
    """

    cpu_svn: bytes
    misc_select: int
    reserved1: bytes
    isv_ext_prod_id: bytes
    attributes: bytes
    mr_enclave: bytes
    reserved2: bytes
    mr_signer: bytes
    reserved3: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    reserved4: bytes
    isv_family_id: bytes
    report_data: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> EnclaveReport:
        """Read exactly 384 bytes."""
        if len(data) != ENCLAVE_REPORT_BYTES:
            raise _malformed("an enclave's report has 384 bytes")
        return cls(*_REPORT.unpack(data))

    def to_bytes(self) -> bytes:
        """Return the 384 bytes."""
        return _REPORT.pack(*(getattr(self, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class QuoteSignature:
    """What follows a quote's body; nobody has checked any of it yet.

    Attributes:
        signature: r ‖ s of the attestation key over header, descriptor and body.
        attestation_key: x ‖ y, on P-256.
        qe_report: The quoting enclave's report, 384 bytes.
        qe_report_signature: r ‖ s of the PCK certificate's key over it.
        qe_auth_data: What the QE's report binds together with the key.
        certification_type: 5 where `certification` is the PCK chain.
        certification: What leads to the PCK certificate.
    """

    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: int
    certification: bytes

    def to_bytes(self, version: int) -> bytes:
        """Return the bytes as a quote of this version has them."""
        block = (
            self.qe_report
            + self.qe_report_signature
            + _SHORT.pack(len(self.qe_auth_data))
            + self.qe_auth_data
            + _DESCRIPTOR.pack(self.certification_type, len(self.certification))
            + self.certification
        )
        if version > _VERSIONS[0]:
            block = _DESCRIPTOR.pack(_QE_REPORT_CERTIFICATION, len(block)) + block
        return self.signature + self.attestation_key + block


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote, parsed; nobody has checked its signature yet.

    Attributes:
        header: Its header.
        body_type: 1 for an enclave; 2, 3, 4 for a TD (1.0, 1.5, 1.5 extended).
        body: The bytes that say what runs.
        signature: What follows the body.
    """

    header: QuoteHeader
    body_type: int
    body: bytes
    signature: QuoteSignature

    @property
    def signed(self) -> bytes:
        """The bytes that the attestation key signs."""
        descriptor = b""
        if self.header.version == _WITH_DESCRIPTOR:
            descriptor = _DESCRIPTOR.pack(self.body_type, len(self.body))
        return self.header.to_bytes() + descriptor + self.body

    def to_bytes(self) -> bytes:
        """Return the quote's bytes, without padding."""
        signature = self.signature.to_bytes(self.header.version)
        return self.signed + _LENGTH.pack(len(signature)) + signature

    @classmethod
    def from_bytes(cls, data: bytes) -> Quote:
        """Read untrusted bytes: one quote, and zero bytes after it.

        Guest interfaces return a buffer whose rest is zero; nothing else may follow a quote.

        Raises:
            MalformedError: They are no quote of a known version, or longer than 16 384 bytes.
        """
        if len(data) > MAX_QUOTE_BYTES:
            raise _malformed("a quote is too long")
        reader = _Reader(data)
        header = QuoteHeader(*_HEADER.unpack(reader.take(_HEADER.size)))
        body_type = _body_type(header, reader)
        body = reader.take(BODY_BYTES[body_type])
        signature = _signature(header.version, _Reader(reader.sized()))
        if any(reader.rest()):
            raise _malformed("something other than zero bytes follows the quote")
        return cls(header, body_type, body, signature)


class _Reader(BinaryReader):
    """Takes bytes from the front, never beyond the end."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        super().__init__(data, cut_off=lambda: _malformed("a quote ends too early"))

    def sized(self) -> bytes:
        """Take a 4-byte length and as many bytes."""
        (length,) = _LENGTH.unpack(self.take(_LENGTH.size))
        return self.take(length)


def _body_type(header: QuoteHeader, reader: _Reader) -> int:
    """Return the body's type, which the TEE type and, in version 5, a descriptor name."""
    if header.version not in _VERSIONS or header.tee_type not in (TEE_SGX, TEE_TDX):
        raise _malformed("a quote of an unknown version or TEE")
    if header.version < _WITH_DESCRIPTOR:
        found = SGX_BODY if header.tee_type == TEE_SGX else min(TDX_BODIES)
        size = BODY_BYTES[found]
    else:
        found, size = _DESCRIPTOR.unpack(reader.take(_DESCRIPTOR.size))
    if BODY_BYTES.get(found) != size or (found == SGX_BODY) != (header.tee_type == TEE_SGX):
        raise _malformed("a quote's body has an unknown type, or not the size of its type")
    if header.version == _VERSIONS[0] and header.tee_type != TEE_SGX:
        raise _malformed("a quote of version 3 is an enclave's")
    return found


def _signature(version: int, reader: _Reader) -> QuoteSignature:
    signature, key = reader.take(_KEY_BYTES), reader.take(_KEY_BYTES)
    block = reader
    if version > _VERSIONS[0]:
        (kind,) = _SHORT.unpack(reader.take(_SHORT.size))
        if kind != _QE_REPORT_CERTIFICATION:
            raise _malformed("a quote without the quoting enclave's report")
        block = _Reader(reader.sized())
    report, report_signature = block.take(ENCLAVE_REPORT_BYTES), block.take(_KEY_BYTES)
    (auth_length,) = _SHORT.unpack(block.take(_SHORT.size))
    auth_data = block.take(auth_length)
    (certification_type,) = _SHORT.unpack(block.take(_SHORT.size))
    certification = block.sized()
    if reader.rest() or block.rest():
        raise _malformed("something follows a quote's certification data")
    return QuoteSignature(
        signature, key, report, report_signature, auth_data, certification_type, certification
    )


def _malformed(why: str) -> MalformedError:
    return MalformedError(why, code="evidence.malformed")
