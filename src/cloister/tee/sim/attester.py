"""Measure the launcher's image and have the simulated platform sign it.

The image is Cloister's own package (sources and data files) and the interpreter that runs them.
Compiled caches are left out: they differ from machine to machine and the sources decide them.
Whoever can change a cache on a simulated platform can also sign what he likes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cloister
from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.digest import framed, sha256
from cloister.errors import ConfigError
from cloister.tee.sim.layout import MEDIA_TYPE, REPORT_LABEL, SignedReport, SimReport
from cloister.tee.sim.platform import SimPlatform

__all__ = ["SimAttester", "installed_image", "measure_image"]

_IMAGE_LABEL: Final = b"cloister/sim-evidence/v1/image"


class SimAttester:
    """Collects evidence about the Cloister installation that runs this very code.

    The image is measured once, when the attester is made.
    """

    def __init__(self, platform: SimPlatform) -> None:
        """Measure the installation; `platform` signs."""
        self._platform = platform
        self.measurement: Final = installed_image()

    def collect(self, report_data: ReportData) -> Evidence:
        """Return evidence over these 64 bytes."""
        report = SimReport(
            anchor=self._platform.anchor.raw,
            measurement=self.measurement,
            report_data=report_data.value,
            debug=self._platform.debug,
            svn=self._platform.svn,
        ).to_bytes()
        signature = self._platform.sign(REPORT_LABEL, report)
        return Evidence(MEDIA_TYPE, SignedReport(report, signature).to_bytes())


def installed_image() -> bytes:
    """Measure the installation that runs: its package directory and its interpreter."""
    return measure_image(Path(cloister.__file__).parent, _interpreter())


def measure_image(package: Path, interpreter: Sequence[Path]) -> bytes:
    """Digest a package directory and an interpreter's files: paths, lengths and contents.

    Args:
        package: The directory; caches of compiled files in it are skipped.
        interpreter: The binary and, where it is apart, the library that holds the interpreter,
            with symbolic links resolved. Their contents count, their paths do not.

    Raises:
        ConfigError: A file cannot be read.
    """
    try:
        parts = [sha256(path.read_bytes()) for path in interpreter]
        for path in sorted(_files(str(package))):
            content = sha256(Path(path).read_bytes())
            parts += [os.path.relpath(path, package).encode(), content]
    except OSError as e:
        raise ConfigError(f"cannot measure {e.filename}: {e.strerror}", code="config.file") from e
    return sha256(framed(_IMAGE_LABEL, *parts))


def _interpreter() -> list[Path]:
    files = [Path(sys.executable).resolve()]
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as e:
        raise ConfigError("cannot read /proc/self/maps", code="config.file") from e
    mapped = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if "/libpython3" in line}
    return files + [Path(path) for path in sorted(mapped)]


def _files(directory: str) -> list[str]:
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    found += _files(entry.path)
            elif not entry.name.endswith(".pyc"):
                found.append(entry.path)
    return found
