"""A plain code tree: read once into memory, digested there, and placed from the same bytes.

What is measured is what runs, whatever happens to the folder meanwhile. `__pycache__` and `.git`
are left out; everything else counts. Links and devices are refused: they would mean something else
inside than outside.

Spec: launch-measurement-v1, clauses LM-30 to LM-34.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError
from cloister.launcher.manifest import CODE_LABEL, Entry, Manifest, encode_entries

__all__ = ["MAX_CODE_BYTES", "MAX_CODE_FILES", "CodeFile", "CodeTree", "read_code"]

MAX_CODE_BYTES: Final = 64 << 20
MAX_CODE_FILES: Final = 10_000
MAX_CODE_DEPTH: Final = 32
SKIPPED: Final = frozenset({"__pycache__", ".git"})
_ROOT: Final = b"code"


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of the tree; `path` is relative, `executable` is its owner's mode bit."""

    path: str
    data: bytes = field(repr=False)
    executable: bool


@dataclass(frozen=True, slots=True)
class CodeTree:
    """The code as it was read, sorted by path."""

    files: tuple[CodeFile, ...]

    def digest(self) -> bytes:
        """Return the 32 bytes that a policy lists under `code.digests`."""
        folders: dict[bytes, list[Entry]] = {_ROOT: []}
        for file in self.files:
            parent, _, name = file.path.rpartition("/")
            folder = _ROOT + b"/" + os.fsencode(parent) if parent else _ROOT
            entry = Entry(os.fsencode(name), "x" if file.executable else "f", sha256(file.data))
            folders.setdefault(folder, []).append(entry)
        encoded = {folder: encode_entries(entries) for folder, entries in folders.items()}
        return Manifest(encoded).digest(CODE_LABEL)


def read_code(folder: Path) -> CodeTree:
    """Read a folder of code.

    Raises:
        ConfigError: It is missing or empty, holds a link or device, or exceeds the limits: 64 MiB,
            10,000 files, 32 folders deep.
    """
    files: list[CodeFile] = []
    size = 0
    for path in _walk(folder, 0):
        name = str(path.relative_to(folder))
        file = _read(path, name)
        size += len(file.data)
        files.append(file)
        if size > MAX_CODE_BYTES or len(files) > MAX_CODE_FILES:
            raise ConfigError(
                f"the code in {folder} has more than {MAX_CODE_BYTES >> 20} MiB or "
                f"{MAX_CODE_FILES} files",
                code="config.value",
                hint="keep data out of the code folder, or seal the code into a volume",
            )
    if not files:
        raise ConfigError(f"there is no code in {folder}", code="config.missing")
    return CodeTree(tuple(sorted(files, key=lambda file: os.fsencode(file.path))))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if depth > MAX_CODE_DEPTH:
        raise ConfigError(f"{folder} is nested too deeply for code", code="config.value")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as e:
        raise ConfigError(
            f"the code folder {folder} cannot be read: {e.strerror}", code="config.missing"
        ) from e
    for entry in entries:
        if entry.name in SKIPPED:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), depth + 1)
        else:
            yield Path(entry.path)


def _read(path: Path, name: str) -> CodeFile:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} in the code is not a file", code="config.value")
            data = stream.read(MAX_CODE_BYTES + 1)
    except OSError as e:
        raise ConfigError(
            f"{path} in the code cannot be read (links are not followed): {e.strerror}",
            code="config.file",
        ) from e
    return CodeFile(name, data, bool(status.st_mode & stat.S_IXUSR))
