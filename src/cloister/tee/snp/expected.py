"""The launch measurement that an image will have, computed by whoever builds it.

A reference value then comes from the image, and not from the first run that somebody watched. The
computation is that of `sev-snp-measure`; this module is imported only where it is asked for.

Example::

    image = GuestImage(firmware, kernel, initrd, "console=ttyS0", vcpus=4, vcpu="EPYC-Milan")
    rules["measurement"] = OneOf((launch_measurement(image),))
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cloister.errors import ConfigError, MissingExtraError, extra_hint

__all__ = ["GuestImage", "launch_measurement"]

Monitor = Literal["qemu", "ec2", "gce"]
_MAX_VCPUS: Final = 512
_SNP_ACTIVE: Final = 1


@dataclass(frozen=True, slots=True)
class GuestImage:
    """All that the launch measurement covers.

    Attributes:
        firmware: The OVMF file.
        kernel: The kernel that the monitor passes to it; None where the disk has it.
        initrd: The initial file system; None for none.
        command_line: The kernel's.
        vcpus: How many processors the guest is launched with.
        vcpu: Their model as QEMU names it, such as `EPYC-Milan`.
        guest_features: SEV_FEATURES of the guest; 1 is SNP and nothing else.
        monitor: Who launches it.
    """

    firmware: Path
    kernel: Path | None
    initrd: Path | None
    command_line: str
    vcpus: int
    vcpu: str
    guest_features: int = _SNP_ACTIVE
    monitor: Monitor = "qemu"

    def __post_init__(self) -> None:
        """What is not passed to a kernel is not measured: refuse it instead of leaving it out."""
        if self.kernel is None and (self.initrd is not None or self.command_line):
            raise ConfigError(
                "without a kernel neither initrd nor command line is measured", code="config.value"
            )
        if not 0 < self.vcpus <= _MAX_VCPUS or not self.guest_features & _SNP_ACTIVE:
            raise ConfigError(
                f"a guest has 1 to {_MAX_VCPUS} processors, and SNP among its features",
                code="config.value",
            )


def launch_measurement(image: GuestImage) -> bytes:
    """Return the 48 bytes that reports of this image will carry as MEASUREMENT.

    Raises:
        MissingExtraError: `sev-snp-measure` is not installed.
        ConfigError: A file is missing or is no such image, or nobody knows the processor.
    """
    try:
        from sevsnpmeasure.guest import snp_calc_launch_digest  # noqa: PLC0415  # an optional extra
        from sevsnpmeasure.vcpu_types import CPU_SIGS  # noqa: PLC0415  # an optional extra
        from sevsnpmeasure.vmm_types import VMMType  # noqa: PLC0415  # an optional extra
    except ModuleNotFoundError as e:
        raise MissingExtraError(
            "computing a launch measurement needs the extra 'snp-measure'",
            code="extra.missing",
            hint=extra_hint("snp-measure"),
        ) from e
    if image.vcpu not in CPU_SIGS:
        known = ", ".join(sorted(name for name in CPU_SIGS if name.count("-") == 1))
        raise ConfigError(
            f"no processor is called {image.vcpu}", code="config.value", hint=f"known: {known}"
        )
    monitors = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}
    try:
        digest = snp_calc_launch_digest(
            image.vcpus,
            CPU_SIGS[image.vcpu],
            str(image.firmware),
            "" if image.kernel is None else str(image.kernel),
            "" if image.initrd is None else str(image.initrd),
            image.command_line,
            image.guest_features,
            "",
            vmm_type=monitors[image.monitor],
        )
    except (OSError, ValueError, RuntimeError, AssertionError, LookupError, struct.error) as e:
        raise ConfigError(
            f"{image.firmware.name} cannot be measured", code="config.file", detail=str(e)
        ) from e
    return bytes(digest)
