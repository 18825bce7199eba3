"""The bytes of AWS Nitro attestation documents as frozen dataclasses; no trust, no I/O.

An untagged COSE_Sign1 with ES384, whose payload is a CBOR map (AWS, "Nitro Enclaves attestation
process", section 3.1: attestation document specification):

============= =========================== ======================================
key           type                        content
============= =========================== ======================================
`module_id`   text                        instance and enclave
`digest`      text                        `SHA384`
`timestamp`   unsigned                    milliseconds since the epoch
`pcrs`        map of unsigned to 48 bytes 1 to 32 registers, index 0 to 31
`certificate` bytes, 1 to 1024            the key that signed, DER
`cabundle`    array of bytes, 1 to 1024   its issuers, the root first, DER
`public_key`  bytes, 1 to 1024, or null   the enclave's
`user_data`   bytes, at most 512, or null the enclave's
`nonce`       bytes, at most 512, or null the enclave's
============= =========================== ======================================

Spec: nitro-evidence-v1, clauses NIT-2 to NIT-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError
from cloister.tee.cose import CoseSign1
from cloister.wire.foreign_cbor import ForeignValue, read_foreign, write_foreign

__all__ = ["MAX_DOCUMENT_BYTES", "MEDIA_TYPE", "PCR_BYTES", "AttestationDocument", "read_document"]

MEDIA_TYPE: Final = "application/vnd.cloister.nitro"
MAX_DOCUMENT_BYTES: Final = 16384
PCR_BYTES: Final = 48
_MAX_PCRS: Final = 32
_MAX_CERTIFICATE: Final = 1024
_MAX_BUNDLE: Final = 7
_MAX_PUBLIC_KEY: Final = 1024
_MAX_DATA: Final = 512
_MAX_TEXT: Final = 128
# Some hypervisors write the map with an indefinite length; nine entries are what it must have.
_INDEFINITE: Final = b"\xbf"
_BREAK: Final = b"\xff"
_NINE: Final = b"\xa9"
_KEYS: Final = frozenset(
    {
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    }
)


@dataclass(frozen=True, slots=True)
class AttestationDocument:
    """What an enclave's hypervisor states.

    Attributes:
        module_id: Instance and enclave.
        timestamp: When, in milliseconds since the epoch.
        pcrs: Registers by index.
        certificate: DER of the certificate whose key signed.
        cabundle: DER of its issuers, the root first.
        public_key: What the enclave gave; None where it gave none.
        user_data: The same.
        nonce: The same.
    """

    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    def to_bytes(self) -> bytes:
        """Return the payload, keys in the order in which the hypervisor writes them."""
        return write_foreign(
            {
                "module_id": self.module_id,
                "digest": "SHA384",
                "timestamp": self.timestamp,
                "pcrs": {index: self.pcrs[index] for index in sorted(self.pcrs)},
                "certificate": self.certificate,
                "cabundle": list(self.cabundle),
                "public_key": self.public_key,
                "user_data": self.user_data,
                "nonce": self.nonce,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AttestationDocument:
        """Read an untrusted payload.

        Raises:
            MalformedError: It has another form, or something is not within its bounds.
        """
        if data[:1] == _INDEFINITE and data[-1:] == _BREAK:
            data = _NINE + data[1:-1]
        fields = read_foreign(
            data, what="a document", max_bytes=MAX_DOCUMENT_BYTES, code="evidence.malformed"
        )
        if not isinstance(fields, dict) or set(fields) != _KEYS:
            raise _malformed("does not have exactly the nine keys")
        if fields["digest"] != "SHA384":
            raise _malformed("has registers of another digest")
        bundle = fields["cabundle"]
        if not isinstance(bundle, list) or not 0 < len(bundle) <= _MAX_BUNDLE:
            raise _malformed("has no bundle of issuers")
        return cls(
            module_id=_text(fields["module_id"]),
            timestamp=_number(fields["timestamp"]),
            pcrs=_pcrs(fields["pcrs"]),
            certificate=_octets(fields["certificate"], 1, _MAX_CERTIFICATE),
            cabundle=tuple(_octets(each, 1, _MAX_CERTIFICATE) for each in bundle),
            public_key=_optional(fields["public_key"], 1, _MAX_PUBLIC_KEY),
            user_data=_optional(fields["user_data"], 0, _MAX_DATA),
            nonce=_optional(fields["nonce"], 0, _MAX_DATA),
        )


def read_document(body: bytes) -> tuple[CoseSign1, AttestationDocument]:
    """Read the signed message and what is in it from untrusted bytes.

    Raises:
        MalformedError: They are no attestation document (`evidence.malformed`).
    """
    message = CoseSign1.from_bytes(body, tagged=False, max_bytes=MAX_DOCUMENT_BYTES)
    return message, AttestationDocument.from_bytes(message.payload)


def _pcrs(value: ForeignValue) -> dict[int, bytes]:
    if not isinstance(value, dict) or not 0 < len(value) <= _MAX_PCRS:
        raise _malformed("has no registers")
    found = {}
    for index, register in value.items():
        if not isinstance(index, int) or not 0 <= index < _MAX_PCRS:
            raise _malformed("has a register of another name")
        found[index] = _octets(register, PCR_BYTES, PCR_BYTES)
    return found


def _text(value: ForeignValue) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise _malformed("has no name")
    return value


def _number(value: ForeignValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _malformed("has no time")
    return value


def _octets(value: ForeignValue, minimum: int, maximum: int) -> bytes:
    if not isinstance(value, bytes) or not minimum <= len(value) <= maximum:
        raise _malformed("has a field of another type or length")
    return value


def _optional(value: ForeignValue, minimum: int, maximum: int) -> bytes | None:
    return None if value is None else _octets(value, minimum, maximum)


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"an attestation document {problem}", code="evidence.malformed")
