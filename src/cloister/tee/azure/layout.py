"""Azure's confidential VMs: the report in the vTPM, the runtime data that it covers; no trust.

Microsoft, "vTPM attestation of confidential VMs" (learn.microsoft.com/azure/confidential-computing/
guest-attestation-confidential-virtual-machines-design), and openhcl/openhcl_attestation_protocol in
github.com/microsoft/openvmm. NV index 0x01400001 of the vTPM holds, little-endian:

    offset  bytes  field                 offset  bytes  field
    0       4      "HCLA"                1216    4      length from here
    4       4      version, 1 or 2       1220    4      version, 1
    8       4      length in use         1224    4      report type: 2 SNP, 4 TDX
    12      4      request type, 2       1228    4      hash type: 1, SHA-256
    16      4      status, 0             1232    4      length of the runtime data
    20      12     reserved              1236    n      runtime data: JSON
    32      1184   SNP report, or TDREPORT and zeros    padded with zeros

Spec: azure-evidence-v1.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES
from cloister.crypto.vendor_keys import RsaKey
from cloister.errors import MalformedError
from cloister.tee.tpm.layout import QuoteParts
from cloister.wire import Fields, Value, encode
from cloister.wire.strict_json import read_json

__all__ = ["SNP_TYPE", "TDX_TYPE", "AzureEvidence", "HclReport", "Platform", "RuntimeData"]

Platform = Literal["snp", "tdx"]

SNP_TYPE: Final = "application/vnd.cloister.azure-snp+cbor"
TDX_TYPE: Final = "application/vnd.cloister.azure-tdx+cbor"

_VERSION: Final = 1
_MAX_HCL_BYTES: Final = 8192
_MAX_RUNTIME_BYTES: Final = 4096
_MAX_REPORT_BYTES: Final = 16384
_HARDWARE_BYTES: Final = 1184
_HEADER: Final = struct.Struct("<4sIIII12s")
_REQUEST: Final = struct.Struct("<IIIII")
_DATA_AT: Final = _HEADER.size + _HARDWARE_BYTES + _REQUEST.size
_HCL_VERSIONS: Final = (1, 2)
_AK_REQUEST: Final = 2
_SHA256: Final = 1
_TYPES: Final[dict[int, Platform]] = {2: "snp", 4: "tdx"}
_AK: Final = "HCLAkPub"
_MAX_DEPTH: Final = 4
_MAX_TEXT: Final = 256
_MAX_ENTRIES: Final = 32
_USER_DATA_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class HclReport:
    """What the vTPM holds; whoever attests takes it apart and sends what can be verified.

    Attributes:
        platform: What kind of report it has.
        hardware: The SNP report; of TDX the local TDREPORT, which nobody elsewhere can verify.
        runtime_data: JSON, whose SHA-256 begins the report's data.
        version: Of the header.
    """

    platform: Platform
    hardware: bytes
    runtime_data: bytes
    version: int = 1

    @classmethod
    def from_bytes(cls, data: bytes) -> HclReport:
        """Read what the NV index holds.

        Raises:
            MalformedError: It is none such.
        """
        if not _DATA_AT <= len(data) <= _MAX_HCL_BYTES:
            raise _malformed("too short or too long")
        magic, version, used, request, status, reserved = _HEADER.unpack_from(data)
        length, inner_version, kind, hashed, size = _REQUEST.unpack_from(
            data, _HEADER.size + _HARDWARE_BYTES
        )
        if magic != b"HCLA" or version not in _HCL_VERSIONS or request != _AK_REQUEST:
            raise _malformed("another header")
        if status or any(reserved) or inner_version != 1 or hashed != _SHA256:
            raise _malformed("another status, version or hash")
        if kind not in _TYPES or length != _REQUEST.size + size or used != _DATA_AT + size:
            raise _malformed("another kind of report, or lengths that disagree")
        if used > len(data) or any(data[used:]):
            raise _malformed("cut off, or more than padding behind it")
        hardware = data[_HEADER.size : _HEADER.size + _HARDWARE_BYTES]
        return cls(_TYPES[kind], hardware, data[_DATA_AT:used], version)

    def to_bytes(self) -> bytes:
        """Return what the NV index would hold, without padding."""
        size = len(self.runtime_data)
        kinds = {platform: kind for kind, platform in _TYPES.items()}
        header = _HEADER.pack(b"HCLA", self.version, _DATA_AT + size, _AK_REQUEST, 0, bytes(12))
        request = _REQUEST.pack(_REQUEST.size + size, 1, kinds[self.platform], _SHA256, size)
        return header + self.hardware.ljust(_HARDWARE_BYTES, b"\0") + request + self.runtime_data


@dataclass(frozen=True, slots=True)
class RuntimeData:
    """What Azure's firmware says about the VM; only as good as the report that covers it.

    Attributes:
        ak: DER SubjectPublicKeyInfo of the vTPM's attestation key.
        configuration: The VM's, by Azure's names: texts, numbers, truths.
        user_data: What the guest asked to be covered; empty where there is none.
    """

    ak: bytes
    configuration: Mapping[str, Value]
    user_data: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> RuntimeData:
        """Read untrusted JSON.

        Raises:
            MalformedError: It is none, or does not have exactly one attestation key.
        """
        found = read_json(
            data,
            what="Azure's runtime data",
            max_bytes=_MAX_RUNTIME_BYTES,
            max_depth=_MAX_DEPTH,
            code="evidence.malformed",
        )
        if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
            raise _malformed("runtime data without keys")
        keys = [key for key in found["keys"] if isinstance(key, dict) and key.get("kid") == _AK]
        if len(keys) != 1:
            raise _malformed("runtime data without exactly one attestation key")
        return cls(
            ak=_rsa_key(keys[0]),
            configuration=_configuration(found.get("vm-configuration")),
            user_data=_user_data(found.get("user-data", "")),
        )


@dataclass(frozen=True, slots=True)
class AzureEvidence:
    """The body of the evidence: what can be verified elsewhere, and nothing else.

    Attributes:
        report: The SNP report, or the TD quote.
        runtime_data: JSON that its report data covers.
        quote: A quote by the key in it.
    """

    report: bytes
    runtime_data: bytes
    quote: QuoteParts

    @classmethod
    def of(cls, hcl: HclReport, quote: QuoteParts, *, td_quote: bytes = b"") -> AzureEvidence:
        """Put together what a VM has: the vTPM's report and quote, and for TDX the TD quote.

        Raises:
            MalformedError: A TD quote is missing, or is there where there is no TD.
        """
        if (hcl.platform == "tdx") != bool(td_quote):
            raise _malformed("a TD has a TD quote, and nothing else has")
        return cls(td_quote or hcl.hardware, hcl.runtime_data, quote)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "version": _VERSION,
                "report": self.report,
                "runtime_data": self.runtime_data,
                "quote": self.quote.as_map(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AzureEvidence:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no such map.
        """
        fields = Fields.decode(data, what="Azure evidence", max_bytes=MAX_EVIDENCE_BYTES)
        fields.constant("version", _VERSION)
        report = fields.octets("report", max_length=_MAX_REPORT_BYTES)
        runtime_data = fields.octets("runtime_data", max_length=_MAX_RUNTIME_BYTES)
        inner = fields.submap("quote")
        quote = QuoteParts.from_fields(inner)
        inner.end()
        fields.end()
        return cls(report, runtime_data, quote)


def _rsa_key(key: dict[str, Any]) -> bytes:
    numbers = [_number(key.get(name)) for name in ("n", "e")]
    if key.get("kty") != "RSA":
        raise _malformed("an attestation key that is not RSA")
    return RsaKey.from_numbers(numbers[0], numbers[1]).spki


def _number(text: object) -> int:
    """Read base64url without padding."""
    if not isinstance(text, str) or len(text) % 4 == 1 or not text:
        raise _malformed("a number of a key that is not base64url")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError) as e:
        raise _malformed("a number of a key that is not base64url") from e
    return int.from_bytes(data)


def _configuration(found: object) -> dict[str, Value]:
    if not isinstance(found, dict) or len(found) > _MAX_ENTRIES:
        raise _malformed("runtime data without the VM's configuration")
    configuration: dict[str, Value] = {}
    for name, value in found.items():
        if not isinstance(value, (str, bool, int)) or len(name) > _MAX_TEXT:
            raise _malformed("an entry of the VM's configuration")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise _malformed("a long text in the VM's configuration")
        configuration[name] = value
    return configuration


def _user_data(text: object) -> bytes:
    if text == "":
        return b""
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError as e:
        raise _malformed("user data that is not hexadecimal") from e
    if len(data) != _USER_DATA_BYTES:
        raise _malformed("user data of another length")
    return data


def _malformed(why: str) -> MalformedError:
    return MalformedError("Azure's report cannot be read", code="evidence.malformed", detail=why)
