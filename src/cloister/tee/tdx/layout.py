"""Reports of TDs as frozen dataclasses, and a quote that travels with its event log.

Offsets within the body (Intel TDX DCAP Quoting Library API, appendix A.3.2; body type 4 from
`sgx_quote_5.h`):

    tee_tcb_svn 0, mr_seam 16, mr_signer_seam 64, seam_attributes 112, td_attributes 120, xfam 128,
    mr_td 136, mr_config_id 184, mr_owner 232, mr_owner_config 280, rtmr0 328, rtmr1 376, rtmr2 424,
    rtmr3 472, report_data 520; from type 3 tee_tcb_svn2 584, mr_service_td 600; in type 4 vmid 648,
    td_id 649, dev_info 681, init_service_td_hash 729, init_service_td_attributes 777,
    init_cpu_svn 785, init_tee_tcb_svn 801, init_tee_fmspc 817, cur_service_td_hash 829,
    cur_service_td_attributes 877.

Spec: intel-evidence-v1, clauses INTEL-2 to INTEL-8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES
from cloister.errors import EvidenceError, MalformedError
from cloister.tee.intel.layout import MAX_QUOTE_BYTES, TDX_BODIES, Quote
from cloister.wire import Fields, Value, encode

__all__ = [
    "LOGGED_TYPE",
    "LOG_FORMATS",
    "MEDIA_TYPE",
    "LoggedQuote",
    "TdAttributes",
    "TdExtended",
    "TdReport",
    "TdService",
    "read_quote",
]

MEDIA_TYPE: Final = "application/vnd.cloister.tdx"
LOGGED_TYPE: Final = "application/vnd.cloister.tdx+cbor"
LOG_FORMATS: Final = ("ccel", "dstack")
_BASE: Final = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
_SERVICE: Final = struct.Struct("<16s48s")
_EXTENDED: Final = struct.Struct("<B32s48s48s8s16s16s12s48s8s")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class TdService:
    """What a report of TDX 1.5 adds: the module's version now, and bound service TDs."""

    tee_tcb_svn2: bytes
    mr_service_td: bytes


@dataclass(frozen=True, slots=True)
class TdExtended:
    """What body type 4 adds: the TD's own name and its history of migration."""

    vmid: int
    td_id: bytes
    dev_info: bytes
    init_service_td_hash: bytes
    init_service_td_attributes: bytes
    init_cpu_svn: bytes
    init_tee_tcb_svn: bytes
    init_tee_fmspc: bytes
    cur_service_td_hash: bytes
    cur_service_td_attributes: bytes


@dataclass(frozen=True, slots=True)
class TdAttributes:
    """The bits of TD_ATTRIBUTES (Intel TDX Module ABI specification, section 3.4.1).

    Attributes:
        debug: Any of bits 0 to 7: the host can look inside.
        lass: Bit 27.
        sept_ve_disable: Bit 28: the host cannot make pages vanish under the TD's feet.
        migratable: Bit 29: another TD may move this one to another machine.
        pks: Bit 30.
        key_locker: Bit 31.
        perfmon: Bit 63.
        reserved: The other bits.
    """

    debug: bool
    lass: bool
    sept_ve_disable: bool
    migratable: bool
    pks: bool
    key_locker: bool
    perfmon: bool
    reserved: int

    @classmethod
    def of(cls, td_attributes: bytes) -> TdAttributes:
        """Read the eight bytes."""
        bits = int.from_bytes(td_attributes, "little")
        known = 0xFF | 0b11111 << 27 | 1 << 63
        return cls(
            debug=bool(bits & 0xFF),
            lass=bool(bits >> 27 & 1),
            sept_ve_disable=bool(bits >> 28 & 1),
            migratable=bool(bits >> 29 & 1),
            pks=bool(bits >> 30 & 1),
            key_locker=bool(bits >> 31 & 1),
            perfmon=bool(bits >> 63),
            reserved=bits & ~known,
        )


@dataclass(frozen=True, slots=True)
class TdReport:
    """A TD's report; `service` from body type 3 on, `extended` in body type 4."""

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    service: TdService | None
    extended: TdExtended | None

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four runtime registers."""
        return (self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3)

    @classmethod
    def from_bytes(cls, data: bytes) -> TdReport:
        """Read the body of a TD's quote, whose size says which of its forms it has.

        Raises:
            MalformedError: It has none of the three sizes.
        """
        base, rest = data[: _BASE.size], data[_BASE.size :]
        if len(data) < _BASE.size or len(rest) not in (
            0,
            _SERVICE.size,
            _SERVICE.size + _EXTENDED.size,
        ):
            raise MalformedError("a TD's report has another size", code="evidence.malformed")
        service = TdService(*_SERVICE.unpack(rest[: _SERVICE.size])) if rest else None
        more = rest[_SERVICE.size :]
        extended = TdExtended(*_EXTENDED.unpack(more)) if more else None
        return cls(*(*_BASE.unpack(base), service, extended))

    def to_bytes(self) -> bytes:
        """Return the body's bytes."""
        names = self.__slots__[:-2]
        parts = [_BASE.pack(*(getattr(self, name) for name in names))]
        for form, part in ((_SERVICE, self.service), (_EXTENDED, self.extended)):
            if part is not None:
                parts.append(form.pack(*(getattr(part, name) for name in part.__slots__)))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class LoggedQuote:
    """A quote and the event log that explains its RTMRs; nobody has checked either."""

    quote: bytes
    log_format: str
    log: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: the body of the evidence."""
        fields: dict[str, Value] = {
            "version": _VERSION,
            "quote": self.quote,
            "log_format": self.log_format,
            "log": self.log,
        }
        return encode(fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> LoggedQuote:
        """Read untrusted bytes."""
        fields = Fields.decode(data, what="TDX evidence", max_bytes=MAX_EVIDENCE_BYTES)
        fields.constant("version", _VERSION)
        found = cls(
            quote=fields.octets("quote", max_length=MAX_QUOTE_BYTES),
            log_format=fields.text("log_format", max_length=16),
            log=fields.octets("log", max_length=MAX_EVIDENCE_BYTES),
        )
        fields.end()
        if found.log_format not in LOG_FORMATS:
            raise MalformedError("an event log of an unknown format", code="evidence.malformed")
        return found


def read_quote(data: bytes) -> tuple[Quote, TdReport]:
    """Read a TD's quote from untrusted bytes.

    Raises:
        MalformedError: They are no quote.
        EvidenceError: An enclave's quote (`evidence.kind`).
    """
    quote = Quote.from_bytes(data)
    if quote.body_type not in TDX_BODIES:
        raise EvidenceError("not a TD's quote", code="evidence.kind")
    return quote, TdReport.from_bytes(quote.body)
