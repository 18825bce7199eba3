"""The bytes of simulated evidence as frozen dataclasses; no trust, no I/O.

Spec: sim-evidence-v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence import REPORT_DATA_BYTES
from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES
from cloister.errors import MalformedError
from cloister.wire import Fields, encode

__all__ = ["MAX_SIM_BYTES", "MEDIA_TYPE", "REPORT_LABEL", "SignedReport", "SimReport"]

MEDIA_TYPE: Final = "application/vnd.cloister.sim+cbor"
REPORT_LABEL: Final = b"cloister/sim-evidence/v1/report"
MAX_SIM_BYTES: Final = 1024
_VERSION: Final = 1
_MAX_SVN: Final = 65535


@dataclass(frozen=True, slots=True)
class SimReport:
    """What a simulated platform states and signs.

    Attributes:
        anchor: The platform's Ed25519 public key, 32 bytes.
        measurement: SHA-256 of the launcher's image.
        report_data: The 64 bytes that the requester bound.
        debug: Whether the platform calls itself inspectable.
        svn: The platform's security version.
    """

    anchor: bytes
    measurement: bytes
    report_data: bytes
    debug: bool
    svn: int

    def __post_init__(self) -> None:
        """Exact lengths and ranges."""
        lengths = (len(self.anchor), len(self.measurement), len(self.report_data))
        if lengths != (PUBLIC_BYTES, DIGEST_BYTES, REPORT_DATA_BYTES):
            raise MalformedError("a simulated report has fixed lengths", code="evidence.malformed")
        if not 0 <= self.svn <= _MAX_SVN:
            raise MalformedError("a security version has 16 bits", code="evidence.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed."""
        return encode(
            {
                "version": _VERSION,
                "anchor": self.anchor,
                "measurement": self.measurement,
                "report_data": self.report_data,
                "debug": self.debug,
                "svn": self.svn,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> SimReport:
        """Read a report from untrusted bytes."""
        fields = Fields.decode(data, what="simulated report", max_bytes=MAX_SIM_BYTES)
        fields.constant("version", _VERSION)
        report = cls(
            anchor=fields.octets("anchor", length=PUBLIC_BYTES),
            measurement=fields.octets("measurement", length=DIGEST_BYTES),
            report_data=fields.octets("report_data", length=REPORT_DATA_BYTES),
            debug=fields.boolean("debug"),
            svn=fields.integer("svn", maximum=_MAX_SVN),
        )
        fields.end()
        return report


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report's bytes and the signature over them; nobody has checked it yet."""

    report: bytes
    signature: bytes

    def __post_init__(self) -> None:
        """A signature has 64 bytes."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise MalformedError("a signature has 64 bytes", code="evidence.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: the body of the evidence envelope."""
        return encode({"report": self.report, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedReport:
        """Read a signed report from untrusted bytes."""
        fields = Fields.decode(data, what="simulated evidence", max_bytes=MAX_SIM_BYTES)
        signed = cls(
            report=fields.octets("report", max_length=MAX_SIM_BYTES),
            signature=fields.octets("signature", length=SIGNATURE_BYTES),
        )
        fields.end()
        return signed
