"""Where a machine's roots of trust are reached, all in one place, so that a test can move them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloister.tee.azure.metadata import METADATA_ADDRESS
from cloister.tee.gramine import GRAMINE_ROOT
from cloister.tee.nvidia.nvml import NVML_LIBRARY
from cloister.tee.runtime_registers import TDX_MEASUREMENTS
from cloister.tee.tpm.transport import TPM_DEVICE
from cloister.tee.tsm import TSM_ROOT

__all__ = ["Places"]


@dataclass(frozen=True, slots=True)
class Places:
    """Paths and addresses of the interfaces.

    Attributes:
        tsm: Linux's configfs-tsm: TDX, SEV-SNP.
        gramine: Gramine's pseudo-files: SGX.
        tpm: A TPM's device, or a software TPM's socket: TPM, Azure.
        metadata: Azure's metadata service: TDX on Azure.
        nvml: NVIDIA's management library.
        registers: TDX's runtime registers in sysfs.
    """

    tsm: Path = TSM_ROOT
    gramine: Path = GRAMINE_ROOT
    tpm: Path = TPM_DEVICE
    metadata: str = METADATA_ADDRESS
    nvml: Path = NVML_LIBRARY
    registers: Path = TDX_MEASUREMENTS
