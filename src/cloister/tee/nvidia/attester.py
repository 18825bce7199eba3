"""Have every GPU of this machine report over a nonce, through NVIDIA's driver.

Spec: nvidia-evidence-v1, clauses NV-50 to NV-52.
"""

from __future__ import annotations

from ctypes import c_void_p
from pathlib import Path
from typing import Final

from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence
from cloister.crypto.chain import read_pem_chain
from cloister.errors import CallerError, CloisterError, UnavailableError, UnsupportedError
from cloister.tee.nvidia.evidence_list import (
    MAX_DEVICES,
    PACKED_MEDIA_TYPE,
    PackedDevice,
    pack_devices,
)
from cloister.tee.nvidia.layout import NONCE_BYTES, GpuReport
from cloister.tee.nvidia.nvml import NVML_LIBRARY, Nvml

__all__ = ["NvidiaAttester"]


class NvidiaAttester:
    """Collects reports of all GPUs of this machine, which are one piece of evidence."""

    def __init__(self, library: Path = NVML_LIBRARY) -> None:
        """Name NVIDIA's management library; nothing is loaded yet."""
        self._library: Final = library

    def collect(self, nonce: bytes) -> Evidence:
        """Return the reports of all GPUs over 32 bytes, each with its certificates.

        Raises:
            CallerError: The nonce has another length (`caller.misuse`).
            UnsupportedError: No driver, no GPU, or none that attests (`machine.attester`).
            UnavailableError: A GPU makes no report over these bytes (`attester.busy`,
                `attester.failed`).
        """
        if len(nonce) != NONCE_BYTES:
            raise CallerError("GPUs bind 32 bytes", code="caller.misuse")
        with Nvml(self._library) as nvml:
            gpus = nvml.gpus()
            nvml.require_confidential()
            if len(gpus) > MAX_DEVICES:
                raise _too_many(len(gpus))
            devices = [_device(nvml, gpu, nonce) for gpu in gpus]
        body = pack_devices(devices)
        if len(body) > MAX_EVIDENCE_BYTES:
            raise _too_many(len(gpus))
        return Evidence(PACKED_MEDIA_TYPE, body)


def _device(nvml: Nvml, gpu: c_void_p, nonce: bytes) -> PackedDevice:
    nvml.architecture(gpu)
    data, chain = nvml.report(gpu, nonce), nvml.certificates(gpu)
    try:
        report = GpuReport.from_bytes(data)
        path = tuple(each.der for each in read_pem_chain(chain.rstrip(b"\0")))
    except CloisterError as e:
        raise UnsupportedError(
            "this GPU's reports are of a kind that is not known here",
            code="machine.attester",
            detail=e.public,
        ) from e
    if report.nonce != nonce:
        raise UnavailableError("the report is over other bytes", code="attester.failed")
    return PackedDevice(report, path)


def _too_many(count: int) -> UnsupportedError:
    return UnsupportedError(
        f"the reports of {count} GPUs do not fit into one piece of evidence",
        code="machine.attester",
    )
