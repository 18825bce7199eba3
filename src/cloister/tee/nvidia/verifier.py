"""Judge evidence of NVIDIA GPUs, one or several, with the manifests and revocations that came.

Spec: nvidia-evidence-v1, clauses NV-10 to NV-41.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate
from cloister.crypto.digest import require_equal
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EndorsementError, EvidenceError, UnavailableError
from cloister.tee.anchors import require_anchors
from cloister.tee.nvidia.dice import DiceIdentity, is_device
from cloister.tee.nvidia.endorsements import Collateral
from cloister.tee.nvidia.evidence_list import (
    LIST_MEDIA_TYPE,
    PACKED_MEDIA_TYPE,
    devices_from_json,
    unpack_devices,
)
from cloister.tee.nvidia.layout import OPAQUE, REPORT_MEDIA_TYPE, GpuReport
from cloister.tee.nvidia.paths import (
    read_certificate,
    read_listed_chain,
    require_nvidia_path,
)
from cloister.tee.nvidia.rim import Rim, RimContent
from cloister.tee.nvidia.roots import DEVICE_ROOTS, RIM_ROOTS

__all__ = ["NvidiaVerifier", "mismatches"]

# The firmware's certificate is named after its chip: `GH100 A01 GSP FMC LF`.
_CHIP: Final = re.compile(r"(G[A-Z][0-9A-Z]{2,6}) .{1,60}")
_ARCHITECTURES: Final = {"GH": "HOPPER", "GB": "BLACKWELL"}
# Index 35 measures the first video decoder, and nothing where that is off.
_NVDEC0_INDEX: Final = 35


@dataclass(frozen=True, slots=True)
class _Device:
    """A GPU whose report is genuine."""

    chip: str
    path: tuple[Certificate, ...]
    anchor: bytes
    report: GpuReport
    dice: DiceIdentity

    @property
    def arch(self) -> str:
        return _ARCHITECTURES[self.chip[:2]]

    @property
    def identity(self) -> Certificate:
        """The certificate of the chip's own key, which issues one for each firmware."""
        return (self.path[1:] or self.path)[0]


class NvidiaVerifier:
    """Accepts reports of GPUs whose chains end in the anchors that it was given."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        """Take SHA-256 digests of root certificates, of devices and of manifests alike.

        A root that NVIDIA has for one of the two never vouches for the other.
        """
        given = require_anchors(anchors)
        self._device_anchors: Final = given - frozenset(RIM_ROOTS.values())
        self._rim_anchors: Final = given - frozenset(DEVICE_ROOTS.values())

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        """Return what genuine reports say, compared with the manifests that came along.

        Args:
            evidence: Untrusted, exactly as received: one report, NVIDIA's list of several,
                or the same packed.
            endorsements: Untrusted: the chain of a single report, manifests, revocation. Each
                manifest must be about a GPU of this evidence.
            at: Instant, in seconds since the epoch, at which certificates are judged.

        Raises:
            MalformedError: Evidence or endorsements do not parse.
            EvidenceError: Another kind, a signature that does not hold, parts of several devices.
            EndorsementError: A chain, a manifest or a revocation did not hold.
            UnavailableError: The chain is missing, or a revocation list is too old.
        """
        # 1. The kind is ours, and everything parses.
        collateral = Collateral.from_endorsements(endorsements)
        # 2. Each device: chain, signature, firmware.
        devices = [
            self._device(arch, path, report, at=at)
            for arch, path, report in _parts(evidence, collateral)
        ]
        # 3. They belong together: one nonce, one root, no device twice.
        first = devices[0]
        if (
            any(each.report.nonce != first.report.nonce for each in devices)
            or any(each.anchor != first.anchor for each in devices)
            or len({each.identity.public_key for each in devices}) != len(devices)
        ):
            raise EvidenceError(
                "reports answer several nonces, or one device is there twice", code="evidence.parts"
            )
        # 4. Manifests are genuine, and each is about a device that is here.
        rims = [(self._rim(rim, at=at), rim) for rim in collateral.rims]
        compared = _compare(devices, collateral.rims)
        # 5. Nothing is revoked, as far as somebody says.
        #    A leaf is issued by its own GPU at each change of firmware: nobody else can revoke it.
        paths = [each.path[1:] for each in devices] + [rim.path for rim in collateral.rims]
        good = [collateral.vouches(path, at=at) for path in paths]
        # 6. The claims.
        hardware_rooted = first.anchor in DEVICE_ROOTS.values() and all(
            anchor in RIM_ROOTS.values() for anchor, _ in rims
        )
        return _claims(devices, compared, good=all(good), hardware_rooted=hardware_rooted)

    def _device(
        self, arch: str | None, path: tuple[Certificate, ...], report: GpuReport, *, at: int
    ) -> _Device:
        # 2.1 The chain ends in an accepted root, and its leaf is a device's firmware.
        anchor = require_nvidia_path(path, anchors=self._device_anchors, at=at)
        dice = DiceIdentity.of(path[0])
        name = _CHIP.fullmatch(path[0].common_name)
        if name is None or name[1][:2] not in _ARCHITECTURES:
            raise EvidenceError("a GPU of an unknown architecture", code="evidence.kind")
        # 2.2 Its key signed request and response.
        key = EcdsaKey.from_spki(path[0].public_key, "P-384")
        key.verify(
            report.signed,
            report.signature,
            "SHA-384",
            error=EvidenceError(
                "the signature of a GPU report does not hold", code="evidence.signature"
            ),
        )
        # 2.3 The report is about the firmware that the leaf names, and of the stated architecture.
        device = _Device(name[1], path, anchor, report, dice)
        parts = EvidenceError(
            "a GPU report is not about the firmware that signed it", code="evidence.parts"
        )
        require_equal(report.fwid, dice.fwid, error=parts)
        if arch not in (None, device.arch):
            raise EvidenceError("a GPU has another architecture", code="evidence.parts")
        return device

    def _rim(self, rim: Rim, *, at: int) -> bytes:
        """Check one manifest; returns the root that vouches for it."""
        anchor = require_nvidia_path(rim.path, anchors=self._rim_anchors, at=at)
        if is_device(rim.path[0]):
            raise EndorsementError(
                "a device signed a reference integrity manifest", code="endorsement.signature"
            )
        rim.require_signed()
        return anchor


def mismatches(content: RimContent, report: GpuReport) -> list[int]:
    """Return the indexes at which a report differs from a manifest, in their order.

    Index n of a manifest is compared with block n + 1. A block that is not there differs.
    """
    skipped = {_NVDEC0_INDEX} if report.nvdec0_disabled else set()
    return [
        index
        for index, good in sorted(content.active.items())
        if index not in skipped and report.measurement(index + 1) not in good
    ]


def _parts(
    evidence: Evidence, collateral: Collateral
) -> Iterable[tuple[str | None, tuple[Certificate, ...], GpuReport]]:
    several = evidence.media_type in (LIST_MEDIA_TYPE, PACKED_MEDIA_TYPE)
    if several and collateral.chains:
        raise EndorsementError("a list brings its own chains", code="endorsement.mismatch")
    if evidence.media_type == PACKED_MEDIA_TYPE:
        devices = unpack_devices(evidence.body)
        return [(None, tuple(map(read_certificate, each.path)), each.report) for each in devices]
    if evidence.media_type == LIST_MEDIA_TYPE:
        return [
            (each.arch, read_listed_chain(each.chain), each.report)
            for each in devices_from_json(evidence.body)
        ]
    if evidence.media_type != REPORT_MEDIA_TYPE:
        raise EvidenceError("not evidence of NVIDIA GPUs", code="evidence.kind")
    report = GpuReport.from_bytes(evidence.body)
    if len(collateral.chains) > 1:
        raise EndorsementError("several chains for one report", code="endorsement.mismatch")
    if not collateral.chains:
        raise UnavailableError("the GPU's certificates are missing", code="endorsement.missing")
    return [(None, collateral.chains[0], report)]


def _compare(devices: Sequence[_Device], rims: Sequence[Rim]) -> list[tuple[bool, list[str]]]:
    """Compare each device with its two manifests: whether both are there, and what differs."""
    wrong = EndorsementError(
        "a reference integrity manifest is about no GPU that is here, or there are two of one kind",
        code="endorsement.mismatch",
    )
    used: set[int] = set()
    compared = []
    for device in devices:
        found: dict[str, RimContent] = {}
        for position, rim in enumerate(rims):
            kind = _kind(rim.content, device)
            if kind in found:
                raise wrong
            if kind:
                found[kind] = rim.content
                used.add(position)
        if len(found) == 2 and set.intersection(*(set(each.active) for each in found.values())):  # noqa: PLR2004  # driver and VBIOS
            raise wrong
        differing = [
            f"{kind}:{index}"
            for kind, content in sorted(found.items())
            for index in mismatches(content, device.report)
        ]
        compared.append((len(found) == 2, differing))  # noqa: PLR2004  # driver and VBIOS
    if len(used) != len(rims):
        raise wrong
    return compared


def _kind(content: RimContent, device: _Device) -> str:
    """Say which of a device's manifests one is; empty for none."""
    if content.chip != device.chip:
        return ""
    if content.version == device.report.driver_version:
        return "driver"
    return "vbios" if content.version == device.report.vbios_version else ""


def _claims(
    devices: Sequence[_Device],
    compared: Sequence[tuple[bool, list[str]]],
    *,
    good: bool,
    hardware_rooted: bool,
) -> Claims:
    mismatched = sorted({each for _, differing in compared for each in differing})
    complete = all(both for both, _ in compared)
    measres = "fail" if mismatched else "success" if complete else "unknown"
    flags = sorted({flag for device in devices for flag in device.dice.flags})
    debug = "debug" in flags
    firmware = sorted({device.dice.fwid for device in devices})
    chips = sorted(_serial(device.identity) for device in devices)
    disabled = measres == "success" and not debug
    return Claims(
        root_of_trust="nvidia",
        anchor=devices[0].anchor,
        hardware_rooted=hardware_rooted,
        measurement=firmware[0] if len(firmware) == 1 else b"",
        report_data=devices[0].report.nonce,
        debug=debug,
        security_version=0,
        status="",
        advisories=(),
        hardware_id=bytes.fromhex(chips[0]) if len(devices) == 1 else b"",
        vendor={
            "measres": measres,
            "mismatched": mismatched,
            "revocation": "good" if good else "unknown",
            "dbgstat": "disabled" if disabled else "enabled" if debug else "unknown",
            "dice_flags": flags,
            "gpus": len(devices),
            "arch": sorted({device.arch for device in devices}),
            "hwmodel": sorted({device.chip for device in devices}),
            "ueid": sorted(_serial(device.path[0]) for device in devices),
            "chip_serial": chips,
            "driver_version": sorted({device.report.driver_version for device in devices}),
            "vbios_version": sorted({device.report.vbios_version for device in devices}),
            "fwid": [each.hex() for each in firmware],
            "feature_flag": _opaque(devices, "feature_flag"),
            "protected_pcie_status": _opaque(devices, "protected_pcie_status"),
        },
    )


def _opaque(devices: Sequence[_Device], name: str) -> list[str]:
    values = [device.report.opaque.get(OPAQUE[name]) for device in devices]
    return sorted({"absent" if value is None else value.hex() for value in values})


def _serial(certificate: Certificate) -> str:
    number = certificate.serial
    return number.to_bytes((number.bit_length() + 7) // 8).hex()
