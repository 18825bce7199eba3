"""Measure the launcher's image: Cloister's own package and the interpreter that runs it.

Sources and data files count. Compiled caches are left out: they differ from machine to machine and
the sources decide them. Whoever can change a cache on a simulated platform can also sign what he
likes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cloister
from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.errors import ConfigError

__all__ = ["IMAGE_BYTES", "installed_image", "measure_image"]

IMAGE_BYTES: Final = DIGEST_BYTES
_IMAGE_LABEL: Final = b"cloister/sim-evidence/v1/image"


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
        parts = [_digest(path) for path in interpreter]
        for path in sorted(_files(str(package))):
            parts += [os.path.relpath(path, package).encode(), _digest(Path(path))]
    except OSError as e:
        raise ConfigError(f"cannot measure {e.filename}: {e.strerror}", code="config.file") from e
    return sha256(framed(_IMAGE_LABEL, *parts))


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


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
