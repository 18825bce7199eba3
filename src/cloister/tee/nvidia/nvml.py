"""NVIDIA's management library (NVML), as far as attestation takes it, by its C interface.

The library belongs to the driver and is loaded into this process: whoever can replace it runs code
here. What it answers is bounded all the same. Names, structures and numbers are those of NVIDIA's
`nvml.h`, version 12 (driver 550 and newer).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from cloister.errors import CloisterError, UnavailableError, UnsupportedError

__all__ = ["NVML_LIBRARY", "Nvml"]

NVML_LIBRARY: Final = Path("libnvidia-ml.so.1")
NONCE_BYTES: Final = 32
_CERTIFICATES: Final = 0x1000
_ATTESTATION_CERTIFICATES: Final = 0x1400
_REPORT: Final = 0x2000
_CEC_REPORT: Final = 0x1000
_ON: Final = 1
_ARCHITECTURES: Final = {9: "HOPPER", 10: "BLACKWELL"}

# nvmlReturn_t
_NAMES: Final = {
    1: "uninitialized", 2: "invalid argument", 3: "not supported", 4: "no permission",
    6: "not found", 7: "insufficient size", 9: "the driver is not loaded", 10: "timeout",
    12: "library not found", 13: "function not found", 15: "the GPU is lost",
    16: "the GPU needs a reset", 18: "the driver is of another version", 19: "in use",
    20: "out of memory", 25: "another version of a structure", 27: "not ready",
    28: "no such GPU", 29: "not in this state", 999: "unknown",
}  # fmt: skip
_BUSY: Final = frozenset({10, 19, 27})
_ABSENT: Final = frozenset({3, 6, 9, 12, 13, 28})


class _State(ctypes.Structure):
    """nvmlConfComputeSystemState_t."""

    _fields_ = (
        ("environment", ctypes.c_uint),
        ("ccFeature", ctypes.c_uint),
        ("devToolsMode", ctypes.c_uint),
    )


class _Certificate(ctypes.Structure):
    """nvmlConfComputeGpuCertificate_t."""

    _fields_ = (
        ("certChainSize", ctypes.c_uint),
        ("attestationCertChainSize", ctypes.c_uint),
        ("certChain", ctypes.c_ubyte * _CERTIFICATES),
        ("attestationCertChain", ctypes.c_ubyte * _ATTESTATION_CERTIFICATES),
    )


class _Report(ctypes.Structure):
    """nvmlConfComputeGpuAttestationReport_t."""

    _fields_ = (
        ("isCecAttestationReportPresent", ctypes.c_uint),
        ("attestationReportSize", ctypes.c_uint),
        ("cecAttestationReportSize", ctypes.c_uint),
        ("nonce", ctypes.c_ubyte * NONCE_BYTES),
        ("attestationReport", ctypes.c_ubyte * _REPORT),
        ("cecAttestationReport", ctypes.c_ubyte * _CEC_REPORT),
    )


class Nvml:
    """The library, initialized for as long as it is used.

    Example::

        with Nvml() as nvml:
            for gpu in nvml.gpus():
                nvml.report(gpu, nonce)
    """

    def __init__(self, path: Path = NVML_LIBRARY) -> None:
        """Name the library: a bare name is found as the system finds libraries."""
        self._path: Final = path
        self._library: ctypes.CDLL | None = None

    def __enter__(self) -> Self:
        """Load and initialize it.

        Raises:
            UnsupportedError: There is no library, or no driver (`machine.attester`).
            UnavailableError: It cannot be initialized (`attester.busy`, `attester.failed`).
        """
        try:
            self._library = ctypes.CDLL(str(self._path))
        except OSError as e:
            raise UnsupportedError(
                "NVIDIA's management library is not here",
                code="machine.attester",
                detail=str(e),
                hint="it comes with NVIDIA's driver",
            ) from e
        try:
            self._call("nvmlInit_v2")
        except CloisterError:
            self._library = None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Shut it down."""
        with suppress(CloisterError):  # what was decided stands
            self._call("nvmlShutdown")
        self._library = None

    def require_confidential(self) -> None:
        """Raise unless the GPUs are in confidential computing mode.

        Raises:
            UnsupportedError: They are not, or cannot be (`machine.attester`).
        """
        state = _State()
        self._call("nvmlSystemGetConfComputeState", ctypes.byref(state))
        if state.ccFeature != _ON:
            raise UnsupportedError(
                "confidential computing is off on this machine's GPUs",
                code="machine.attester",
                hint="the host switches it on, in the GPU's firmware, before the machine starts",
            )

    def gpus(self) -> list[ctypes.c_void_p]:
        """Return a handle of each GPU.

        Raises:
            UnsupportedError: There is none (`machine.attester`).
            UnavailableError: It does not say.
        """
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        if not count.value:
            raise UnsupportedError("the driver has no GPU", code="machine.attester")
        handles = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
            handles.append(handle)
        return handles

    def architecture(self, gpu: ctypes.c_void_p) -> str:
        """Return NVIDIA's name of a GPU's architecture.

        Raises:
            UnsupportedError: One that does not attest (`machine.attester`).
        """
        number = ctypes.c_uint()
        self._call("nvmlDeviceGetArchitecture", gpu, ctypes.byref(number))
        name = _ARCHITECTURES.get(number.value)
        if name is None:
            raise UnsupportedError(
                "a GPU of an architecture that does not attest",
                code="machine.attester",
                detail=f"architecture {number.value}",
            )
        return name

    def report(self, gpu: ctypes.c_void_p, nonce: bytes) -> bytes:
        """Return a GPU's report over 32 bytes: request, response and signature.

        Raises:
            UnsupportedError: This GPU makes none (`machine.attester`).
            UnavailableError: It makes none now (`attester.busy`, `attester.failed`).
        """
        found = _Report()
        found.nonce[:] = nonce
        self._call("nvmlDeviceGetConfComputeGpuAttestationReport", gpu, ctypes.byref(found))
        return _filled(found.attestationReport, found.attestationReportSize)

    def certificates(self, gpu: ctypes.c_void_p) -> bytes:
        """Return the certificates of the key that signs its reports, as PEM; raises likewise."""
        found = _Certificate()
        self._call("nvmlDeviceGetConfComputeGpuCertificate", gpu, ctypes.byref(found))
        return _filled(found.attestationCertChain, found.attestationCertChainSize)

    def _call(self, name: str, *arguments: Any) -> None:
        if self._library is None:
            raise UnavailableError("NVML is not open", code="attester.failed")
        try:
            function: Callable[..., int] = getattr(self._library, name)
        except AttributeError as e:
            raise UnsupportedError(
                "NVIDIA's driver is too old to attest", code="machine.attester", detail=name
            ) from e
        code = function(*arguments)
        if code:
            raise _refused(name, code)


def _filled(buffer: ctypes.Array[ctypes.c_ubyte], size: int) -> bytes:
    """Return the part of a buffer that was filled; never more than there is."""
    if not 0 < size <= len(buffer):
        raise UnavailableError(
            "NVML says that it filled another number of bytes than there are",
            code="attester.failed",
            detail=f"{size} of {len(buffer)}",
        )
    return bytes(buffer)[:size]


def _refused(name: str, code: int) -> CloisterError:
    sentence = f"NVML does not answer: {_NAMES.get(code, 'an error of its own')}"
    detail = f"{name} returned {code}"
    if code in _BUSY:
        return UnavailableError(sentence, code="attester.busy", detail=detail)
    if code in _ABSENT:
        return UnsupportedError(
            sentence,
            code="machine.attester",
            detail=detail,
            hint="cloister doctor shows what this machine offers",
        )
    return UnavailableError(sentence, code="attester.failed", detail=detail)
