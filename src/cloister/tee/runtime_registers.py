"""TDX's runtime registers through sysfs: read, and extend with what was measured.

Source: Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest (Linux 6.16 and newer).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from cloister.errors import CallerError, UnavailableError
from cloister.tee.kernel import KernelFiles, LinuxFiles, refused

__all__ = ["REGISTER_BYTES", "TDX_MEASUREMENTS", "RuntimeRegisters"]

TDX_MEASUREMENTS: Final = Path("/sys/devices/virtual/misc/tdx_guest/measurements")
REGISTER_BYTES: Final = 48
_REGISTERS: Final = 4


class RuntimeRegisters:
    """The four registers of this trust domain."""

    def __init__(self, *, root: Path = TDX_MEASUREMENTS, files: KernelFiles | None = None) -> None:
        """Name the place; nothing is touched yet.

        Args:
            root: Where the kernel has them.
            files: Who answers; None for the kernel.
        """
        self._root = root
        self._files: KernelFiles = LinuxFiles() if files is None else files

    def read(self, number: int) -> bytes:
        """Return the 48 bytes of a register.

        Raises:
            UnsupportedError: There are no registers here (`machine.attester`).
            UnavailableError: The kernel does not answer (`attester.busy`, `attester.failed`).
        """
        path = self._path(number)
        try:
            value = self._files.read(path, max_bytes=REGISTER_BYTES)
        except OSError as e:
            raise refused(e, f"register {number} cannot be read") from e
        if len(value) != REGISTER_BYTES:
            raise UnavailableError("a register has 48 bytes", code="attester.failed")
        return value

    def extend(self, number: int, digest: bytes) -> bytes:
        """Extend a register with a SHA-384 digest; returns its new value.

        Whatever was extended stays so until the machine starts again.

        Raises:
            UnsupportedError: There are no registers here, or this one cannot be extended.
            UnavailableError: The kernel does not answer, or the register is not what this one
                extension makes of it: another program extends it too (`attester.failed`).
        """
        if len(digest) != REGISTER_BYTES:
            raise CallerError("a register is extended with 48 bytes", code="caller.misuse")
        before = self.read(number)
        try:
            self._files.write(self._path(number), digest)
        except OSError as e:
            raise refused(e, f"register {number} cannot be extended") from e
        after = self.read(number)
        if after != hashlib.sha384(before + digest).digest():
            raise UnavailableError(
                f"register {number} was extended by somebody else meanwhile",
                code="attester.failed",
            )
        return after

    def _path(self, number: int) -> Path:
        if not 0 <= number < _REGISTERS:
            raise CallerError("registers are numbered from 0 to 3", code="caller.misuse")
        return self._root / f"rtmr{number}:sha384"
