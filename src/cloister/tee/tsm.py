"""Reports through configfs-tsm, the way in which Linux offers SEV-SNP and TDX alike.

Each report is an entry of its own under a random name, removed afterwards. Everything that is
written to an entry raises its generation by one; a generation that does not fit what was written
here means that somebody else wrote too, and the report may be about his data.

Source: Documentation/ABI/testing/configfs-tsm-report (Linux 6.7 and newer).
"""

from __future__ import annotations

import errno
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cloister.attestation.evidence import ReportData
from cloister.errors import CloisterError, UnavailableError, UnsupportedError
from cloister.tee.kernel import KernelFiles, LinuxFiles, refused

__all__ = ["TSM_ROOT", "TsmInterface", "TsmReport"]

TSM_ROOT: Final = Path("/sys/kernel/config/tsm/report")
MAX_BLOB_BYTES: Final = 1 << 20
_MAX_TEXT: Final = 4096
_DEADLINE_S: Final = 10.0
_PAUSE_S: Final = 0.01
_BUSY: Final = frozenset({errno.EBUSY, errno.EAGAIN})
NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TsmReport:
    """What the kernel answered.

    Attributes:
        provider: Who made it: `tdx_guest`, `sev_guest`, `arm_cca_guest`.
        outblob: The quote or report.
        auxblob: What came beside it, such as SEV-SNP's certificates; empty where there is nothing.
        manifestblob: Of the services that an SVSM vouches for; empty likewise.
    """

    provider: str
    outblob: bytes
    auxblob: bytes
    manifestblob: bytes


class TsmInterface:
    """The interface at one place of the file system."""

    def __init__(
        self,
        *,
        root: Path = TSM_ROOT,
        files: KernelFiles | None = None,
        deadline_s: float = _DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the place; nothing is touched yet.

        Args:
            root: Where the kernel has it.
            files: Who answers; None for the kernel.
            deadline_s: How long another's use of the interface is waited for.
            sleep: Waits.
            clock: Tells how long.
        """
        self._root = root
        self._files: KernelFiles = LinuxFiles() if files is None else files
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._clock = clock

    def provider(self) -> str:
        """Return who would make a report here.

        Raises:
            UnsupportedError: Nobody (`machine.attester`).
            UnavailableError: The kernel does not answer now (`attester.busy`, `attester.failed`).
        """
        with _Entry(self._files, self._root) as entry:
            return entry.text("provider")

    def collect(
        self,
        report_data: ReportData,
        *,
        provider: str,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> TsmReport:
        """Return a report over these 64 bytes.

        Args:
            report_data: What is bound.
            provider: Who must make it; another's report is not what the caller can name.
            options: Attributes to write first, such as `privlevel`.

        Raises:
            UnsupportedError: The interface, the provider or an option is not here
                (`machine.attester`).
            UnavailableError: It stayed busy (`attester.busy`), somebody else wrote to the entry, or
                the kernel failed (`attester.failed`).
        """
        end = self._clock() + self._deadline_s
        while True:
            try:
                return self._collect(report_data, provider, options)
            except UnavailableError as e:
                if e.code != "attester.busy" or self._clock() >= end:
                    raise
            self._sleep(_PAUSE_S)

    def _collect(
        self, report_data: ReportData, provider: str, options: Mapping[str, str]
    ) -> TsmReport:
        with _Entry(self._files, self._root) as entry:
            found = entry.text("provider")
            if found != provider:
                raise UnsupportedError(
                    f"reports are made by {found!r} here, not by {provider!r}",
                    code="machine.attester",
                    hint="name the kind of evidence that this machine makes",
                )
            before = entry.number("generation")
            for name, value in options.items():
                entry.write(name, value.encode("ascii"))
            entry.write("inblob", report_data.value)
            outblob = entry.blob("outblob")
            auxblob = entry.optional_blob("auxblob")
            manifestblob = entry.optional_blob("manifestblob")
            if entry.number("generation") != before + len(options) + 1:
                raise UnavailableError(
                    "somebody else wrote to the report while it was made", code="attester.failed"
                )
        if not outblob:
            raise UnavailableError("the kernel made an empty report", code="attester.failed")
        return TsmReport(found, outblob, auxblob, manifestblob)


class _Entry:
    """One report's directory, for as long as it is used."""

    def __init__(self, files: KernelFiles, root: Path) -> None:
        self._files = files
        self._path = root / f"cloister-{secrets.token_hex(16)}"

    def __enter__(self) -> _Entry:
        try:
            self._files.make_directory(self._path)
        except OSError as e:
            raise refused(e, "a report cannot be begun") from e
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what was decided stands; the kernel keeps an unused entry
            self._files.remove_directory(self._path)

    def text(self, name: str) -> str:
        try:
            return self._read(name, _MAX_TEXT).decode("ascii").rstrip("\n")
        except UnicodeDecodeError as e:
            raise _odd(name) from e

    def number(self, name: str) -> int:
        text = self.text(name)
        if not text.isdecimal():
            raise _odd(name)
        return int(text)

    def blob(self, name: str) -> bytes:
        return self._read(name, MAX_BLOB_BYTES)

    def optional_blob(self, name: str) -> bytes:
        """Return what an attribute has that not every provider or kernel knows."""
        try:
            return self.blob(name)
        except UnsupportedError:
            return b""

    def write(self, name: str, data: bytes) -> None:
        try:
            self._files.write(self._path / name, data)
        except OSError as e:
            raise refused(e, f"{name} cannot be written") from e

    def _read(self, name: str, max_bytes: int) -> bytes:
        try:
            return self._files.read(self._path / name, max_bytes=max_bytes)
        except OSError as e:
            raise refused(e, f"{name} cannot be read") from e


def _odd(name: str) -> CloisterError:
    return UnavailableError(f"the kernel's {name} cannot be read", code="attester.failed")
