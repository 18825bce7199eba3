"""TPM 2.0 quotes and signatures as frozen dataclasses, and how they travel; no trust, no I/O.

TCG, Trusted Platform Module Library, Part 2: Structures, revision 1.59: TPMS_ATTEST (10.12.12),
TPMS_QUOTE_INFO (10.12.4), TPMS_CLOCK_INFO (10.11.1), TPML_PCR_SELECTION (10.9.7),
TPMT_SIGNATURE (11.3.4). Numbers are big-endian.

    TPMS_ATTEST                          TPMT_SIGNATURE
    4   magic, ff544347                  2   sigAlg: 0014 RSASSA, 0016 RSAPSS, 0018 ECDSA
    2   type, 8018: a quote              2   hash: 000b, 000c, 000d
    2+n qualifiedSigner                  2+n the signature (RSA), or r and then s (ECDSA)
    2+n extraData
    8   clock
    4   resetCount                       TPMS_QUOTE_INFO
    4   restartCount                     4   number of selections, each:
    1   safe, 0 or 1                         2   bank's hash: 0004, 000b, 000c, 000d
    8   firmwareVersion                      1+n bitmap, PCR 0 in the lowest bit of the first byte
    TPMS_QUOTE_INFO                      2+n pcrDigest

Spec: tpm-evidence-v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES
from cloister.errors import MalformedError
from cloister.wire import Fields, Value, encode
from cloister.wire.binary import BinaryReader

__all__ = [
    "BANKS",
    "MEDIA_TYPE",
    "PCRS",
    "Bank",
    "Quote",
    "QuoteParts",
    "Scheme",
    "Selection",
    "Signature",
    "TpmEvidence",
]

MEDIA_TYPE: Final = "application/vnd.cloister.tpm+cbor"
PCRS: Final = 24
Bank = Literal["sha1", "sha256", "sha384", "sha512"]
Scheme = Literal["RSASSA", "RSAPSS", "ECDSA"]

BANKS: Final[dict[Bank, int]] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_BANK_IDS: Final[dict[int, Bank]] = {4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512"}
_IDS: Final[dict[Bank, int]] = {bank: number for number, bank in _BANK_IDS.items()}
_SCHEME_IDS: Final[dict[int, Scheme]] = {0x14: "RSASSA", 0x16: "RSAPSS", 0x18: "ECDSA"}
_SCHEMES: Final[dict[Scheme, int]] = {scheme: number for number, scheme in _SCHEME_IDS.items()}
_MAGIC: Final = b"\xffTCG"
_QUOTE: Final = b"\x80\x18"
_VERSION: Final = 1
_MAX_QUOTE_BYTES: Final = 1024
_MAX_SIGNATURE_BYTES: Final = 600
_MAX_NAME_BYTES: Final = 66
_MAX_DATA_BYTES: Final = 64
_MAX_BITMAP_BYTES: Final = 4
_MAX_NUMBER_BYTES: Final = 512
_MAX_SPKI_BYTES: Final = 1024
_MAX_VALUES: Final = 4 * PCRS


@dataclass(frozen=True, slots=True)
class Selection:
    """PCRs of one bank that were quoted, ascending."""

    bank: Bank
    pcrs: tuple[int, ...]
    bitmap_bytes: int = 3


@dataclass(frozen=True, slots=True)
class Quote:
    """What a TPM attests in a quote; nobody has checked its signature yet.

    Attributes are those of TPMS_ATTEST, and of TPMS_QUOTE_INFO in it.
    """

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    selections: tuple[Selection, ...]
    pcr_digest: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Quote:
        """Read untrusted bytes, exactly one quote.

        Raises:
            MalformedError: Another attestation, another structure, or beyond a limit.
        """
        if len(data) > _MAX_QUOTE_BYTES:
            raise _malformed("it is too long")
        reader = _Reader(data)
        if reader.take(4) != _MAGIC or reader.take(2) != _QUOTE:
            raise _malformed("it is no quote made by a TPM")
        quote = cls(
            qualified_signer=reader.sized(_MAX_NAME_BYTES),
            extra_data=reader.sized(_MAX_DATA_BYTES),
            clock=reader.number(8),
            reset_count=reader.number(4),
            restart_count=reader.number(4),
            safe=reader.truth(),
            firmware_version=reader.number(8),
            selections=_selections(reader),
            pcr_digest=reader.sized(_MAX_DATA_BYTES),
        )
        reader.end()
        return quote

    def to_bytes(self) -> bytes:
        """Return the TPMS_ATTEST that a TPM signs."""
        return b"".join(
            (
                _MAGIC,
                _QUOTE,
                _sized(self.qualified_signer),
                _sized(self.extra_data),
                self.clock.to_bytes(8, "big"),
                self.reset_count.to_bytes(4, "big"),
                self.restart_count.to_bytes(4, "big"),
                bytes([self.safe]),
                self.firmware_version.to_bytes(8, "big"),
                self.info_bytes(),
            )
        )

    def info_bytes(self) -> bytes:
        """Return the TPMS_QUOTE_INFO: which PCRs, and the digest of their values."""
        parts = [len(self.selections).to_bytes(4, "big")]
        for each in self.selections:
            bits = sum(1 << pcr for pcr in each.pcrs)
            parts.append(_IDS[each.bank].to_bytes(2, "big") + bytes([each.bitmap_bytes]))
            parts.append(bits.to_bytes(each.bitmap_bytes, "little"))
        return b"".join(parts) + _sized(self.pcr_digest)

    def places(self) -> list[tuple[Bank, int]]:
        """Return bank and index of each quoted PCR, in the order in which they are hashed."""
        return [(each.bank, pcr) for each in self.selections for pcr in each.pcrs]


@dataclass(frozen=True, slots=True)
class Signature:
    """A TPMT_SIGNATURE: the bytes of RSA, or r and s of ECDSA without leading zeros."""

    scheme: Scheme
    digest: Bank
    value: bytes
    second: bytes = b""

    @classmethod
    def from_bytes(cls, data: bytes) -> Signature:
        """Read untrusted bytes.

        Raises:
            MalformedError: Not a signature by one of the three schemes over SHA-2.
        """
        if len(data) > _MAX_SIGNATURE_BYTES:
            raise _malformed("its signature is too long")
        reader = _Reader(data)
        scheme = _SCHEME_IDS.get(reader.number(2))
        digest = _BANK_IDS.get(reader.number(2))
        if scheme is None or digest is None or digest == "sha1":
            raise _malformed("it is signed in a way that is not accepted")
        value = reader.sized(_MAX_NUMBER_BYTES)
        second = reader.sized(_MAX_NUMBER_BYTES) if scheme == "ECDSA" else b""
        reader.end()
        return cls(scheme, digest, value, second)

    def to_bytes(self) -> bytes:
        """Return the TPMT_SIGNATURE."""
        head = _SCHEMES[self.scheme].to_bytes(2, "big") + _IDS[self.digest].to_bytes(2, "big")
        second = _sized(self.second) if self.scheme == "ECDSA" else b""
        return head + _sized(self.value) + second


@dataclass(frozen=True, slots=True)
class QuoteParts:
    """A quote as it travels: message, signature, what was quoted, and how it came about.

    Attributes:
        message: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        values: The quoted PCRs, in the order of the selection.
        event_log: The firmware's log; empty for none.
    """

    message: bytes
    signature: bytes
    values: tuple[bytes, ...]
    event_log: bytes

    def as_map(self) -> dict[str, Value]:
        """Return the fields of the canonical map."""
        return {
            "message": self.message,
            "signature": self.signature,
            "pcrs": list(self.values),
            "event_log": self.event_log,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> QuoteParts:
        """Take the fields from a map that somebody else ends."""
        message = fields.octets("message", max_length=_MAX_QUOTE_BYTES)
        signature = fields.octets("signature", max_length=_MAX_SIGNATURE_BYTES)
        values = _values(fields.array("pcrs", max_items=_MAX_VALUES))
        event_log = fields.octets("event_log", max_length=MAX_EVIDENCE_BYTES)
        return cls(message, signature, values, event_log)


@dataclass(frozen=True, slots=True)
class TpmEvidence:
    """The body of the evidence: a quote and the key that is said to have signed it.

    Attributes:
        ak: DER SubjectPublicKeyInfo of the attestation key.
        quote: What it signed.
    """

    ak: bytes
    quote: QuoteParts

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"version": _VERSION, "ak": self.ak, **self.quote.as_map()})

    @classmethod
    def from_bytes(cls, data: bytes) -> TpmEvidence:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no such map.
        """
        fields = Fields.decode(data, what="TPM evidence", max_bytes=MAX_EVIDENCE_BYTES)
        fields.constant("version", _VERSION)
        ak = fields.octets("ak", max_length=_MAX_SPKI_BYTES)
        quote = QuoteParts.from_fields(fields)
        fields.end()
        return cls(ak, quote)


class _Reader(BinaryReader):
    """Takes a TPM's structures one after the other."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        super().__init__(data, cut_off=lambda: _malformed("it is cut off"))

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length))

    def truth(self) -> bool:
        value = self.number(1)
        if value > 1:
            raise _malformed("neither yes nor no")
        return bool(value)

    def sized(self, most: int) -> bytes:
        length = self.number(2)
        if length > most:
            raise _malformed("a part is too long")
        return self.take(length)

    def end(self) -> None:
        if self.left:
            raise _malformed("more than there should be")


def _selections(reader: _Reader) -> tuple[Selection, ...]:
    count = reader.number(4)
    if count > len(BANKS):
        raise _malformed("more selections than banks")
    found: list[Selection] = []
    for _ in range(count):
        bank = _BANK_IDS.get(reader.number(2))
        length = reader.number(1)
        if bank is None or length > _MAX_BITMAP_BYTES or any(bank == each.bank for each in found):
            raise _malformed("a selection of an unknown or repeated bank")
        bits = int.from_bytes(reader.take(length), "little")
        if bits >> PCRS:
            raise _malformed("a PCR that no PC has")
        pcrs = tuple(pcr for pcr in range(PCRS) if bits >> pcr & 1)
        found.append(Selection(bank, pcrs, length))
    return tuple(found)


def _values(found: Sequence[Value]) -> tuple[bytes, ...]:
    values = tuple(value for value in found if isinstance(value, bytes))
    if len(values) != len(found):
        raise _malformed("a PCR that is not bytes")
    return values


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _malformed(why: str) -> MalformedError:
    return MalformedError("a TPM's quote cannot be read", code="evidence.malformed", detail=why)
