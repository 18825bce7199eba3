"""Reports of several GPUs in one piece of evidence: NVIDIA's list, or the same packed.

NVIDIA's verifiers read a JSON list of `arch`, `certificate` (base64 of PEM), `evidence` (base64 of
the exchange) and `nonce` (hexadecimal); `nvattest collect-evidence` puts versions beside them, and
the list into an object with its own result. Packed, each certificate stands once and nothing is
base64, which is half as long: eight GPUs fit into an envelope.

Spec: nvidia-evidence-v1, clauses NV-6 and NV-9.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloister.crypto.chain import MAX_PATH
from cloister.errors import MalformedError
from cloister.tee.nvidia.layout import MAX_REPORT_BYTES, GpuReport
from cloister.wire import Fields, Value, encode
from cloister.wire.strict_json import read_json, write_json

__all__ = [
    "LIST_MEDIA_TYPE",
    "MAX_DEVICES",
    "MAX_LIST_BYTES",
    "PACKED_MEDIA_TYPE",
    "DeviceEvidence",
    "PackedDevice",
    "devices_from_json",
    "devices_to_json",
    "pack_devices",
    "unpack_devices",
]

LIST_MEDIA_TYPE: Final = "application/vnd.cloister.nvidia+json"
PACKED_MEDIA_TYPE: Final = "application/vnd.cloister.nvidia+cbor"
MAX_DEVICES: Final = 16
MAX_LIST_BYTES: Final = MAX_DEVICES * 24576
_MAX_PEM_BYTES: Final = 16384
_VERSION: Final = 1
_CODE: Final = "evidence.malformed"
_ARCH: Final = re.compile(r"[A-Z_]{1,32}")
_NONCE: Final = re.compile(r"[0-9a-f]{64}")
_VERSIONS: Final = frozenset({"version", "driver_version", "vbios_version"})


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """One entry of the list: a report and the chain that came with it.

    Attributes:
        arch: NVIDIA's name of the architecture, such as `HOPPER`.
        chain: PEM certificates, the leaf first.
        report: The exchange.
    """

    arch: str
    chain: bytes
    report: GpuReport


@dataclass(frozen=True, slots=True)
class PackedDevice:
    """A report and the path that came with it.

    Attributes:
        report: The exchange.
        path: DER of the certificates, the leaf first.
    """

    report: GpuReport
    path: tuple[bytes, ...]


def pack_devices(devices: Sequence[PackedDevice]) -> bytes:
    """Return devices with each certificate once."""
    certificates = list(dict.fromkeys(der for device in devices for der in device.path))
    return encode(
        {
            "version": _VERSION,
            "certificates": certificates,
            "devices": [
                {
                    "report": device.report.to_bytes(),
                    "path": [certificates.index(der) for der in device.path],
                }
                for device in devices
            ],
        }
    )


def unpack_devices(data: bytes) -> tuple[PackedDevice, ...]:
    """Read packed devices from untrusted bytes.

    Raises:
        MalformedError: They are none, or there is another way to pack the same
            (`evidence.malformed`, `message.malformed`, or a code of `wire`).
    """
    fields = Fields.decode(data, what="packed GPU evidence", max_bytes=MAX_LIST_BYTES)
    fields.constant("version", _VERSION)
    certificates = fields.array("certificates", max_items=MAX_DEVICES * MAX_PATH)
    entries = fields.array("devices", max_items=MAX_DEVICES)
    fields.end()
    devices = tuple(_unpacked(entry, certificates) for entry in entries)
    if not devices or pack_devices(devices) != data:
        raise MalformedError("GPU evidence is not packed as it should be", code=_CODE)
    return devices


def _unpacked(entry: Value, certificates: Sequence[Value]) -> PackedDevice:
    fields = Fields(entry, what="packed GPU evidence")
    report = GpuReport.from_bytes(fields.octets("report", max_length=MAX_REPORT_BYTES))
    path = []
    for index in fields.array("path", max_items=MAX_PATH):
        if type(index) is not int or not 0 <= index < len(certificates):
            raise MalformedError("a path has a certificate that is not there", code=_CODE)
        der = certificates[index]
        if not isinstance(der, bytes):
            raise MalformedError("a certificate is no byte string", code=_CODE)
        path.append(der)
    fields.end()
    if not path:
        raise MalformedError("a GPU has no certificates", code=_CODE)
    return PackedDevice(report, tuple(path))


def devices_from_json(data: bytes) -> tuple[DeviceEvidence, ...]:
    """Read an evidence list from untrusted bytes.

    Raises:
        MalformedError: It is no such list, is empty, or a report answers another nonce than its
            entry has (`evidence.malformed`).
    """
    what = "an evidence list"
    entries = read_json(
        data, what=what, max_bytes=MAX_LIST_BYTES, max_depth=3, code="evidence.malformed"
    )
    if isinstance(entries, dict):
        entries = _collected(entries)
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_DEVICES:
        raise MalformedError("not an evidence list of GPUs", code="evidence.malformed")
    return tuple(_device(entry) for entry in entries)


def devices_to_json(devices: tuple[DeviceEvidence, ...]) -> bytes:
    """Return an evidence list's bytes."""
    return write_json(
        [
            {
                "arch": device.arch,
                "certificate": base64.b64encode(device.chain).decode("ascii"),
                "evidence": base64.b64encode(device.report.to_bytes()).decode("ascii"),
                "nonce": device.report.nonce.hex(),
            }
            for device in devices
        ]
    )


def _collected(found: dict[str, Any]) -> Any:
    """Return the list in what NVIDIA's collector printed, where it says that it went well."""
    if set(found) != {"evidences", "result_code", "result_message"}:
        raise MalformedError("not an evidence list of GPUs", code="evidence.malformed")
    if type(found["result_code"]) is not int or found["result_code"] != 0:
        raise MalformedError("the collector says that it failed", code="evidence.malformed")
    return found["evidences"]


def _device(entry: Any) -> DeviceEvidence:
    wrong = MalformedError("an entry of the evidence list is wrong", code="evidence.malformed")
    names = {"arch", "certificate", "evidence", "nonce"}
    if not isinstance(entry, dict) or set(entry) - _VERSIONS != names:
        raise wrong
    arch, nonce = entry["arch"], entry["nonce"]
    if not all(isinstance(value, str) for value in entry.values()):
        raise wrong
    if not _ARCH.fullmatch(arch) or not _NONCE.fullmatch(nonce):
        raise wrong
    report = GpuReport.from_bytes(_base64(entry["evidence"], MAX_REPORT_BYTES))
    if report.nonce.hex() != nonce or entry.get("version", "1.0") != "1.0":
        raise wrong
    # What stands beside the report says the same as the report, which is signed.
    for name in _VERSIONS & entry.keys() - {"version"}:
        if entry[name] != getattr(report, name):
            raise wrong
    return DeviceEvidence(arch, _base64(entry["certificate"], _MAX_PEM_BYTES), report)


def _base64(text: str, max_bytes: int) -> bytes:
    wrong = MalformedError("base64 is wrong or too long", code="evidence.malformed")
    if len(text) > (max_bytes + 2) // 3 * 4:
        raise wrong
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as e:
        raise wrong from e
    if base64.b64encode(data).decode("ascii") != text:
        raise wrong
    return data
