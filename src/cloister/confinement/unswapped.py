"""Files that no disk ever sees: in memory that is never swapped, each read-only at its place.

A tmpfs can be swapped out; a ramfs cannot. It has no limit of its own, so nobody inside can write
to it: each file is shown at its place by a read-only bind, and the file system itself is detached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls

__all__ = ["PlacedFile", "place_unswapped"]

_STORE: Final = "/.unswapped"
_READ_ONLY: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file of the launcher's, in memory only. `mode` is its permission bits."""

    path: str
    data: bytes = field(repr=False)
    mode: int


def place_unswapped(files: Iterable[PlacedFile]) -> None:
    """Put files into the tree; the caller has mounted nothing that lies on a disk.

    Raises:
        OSError: A path is taken, or lies in something that cannot be written.
    """
    Path(_STORE).mkdir(mode=0o700)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("cloister", _STORE, "ramfs", flags, "mode=0700")
    for number, file in enumerate(files):
        source = f"{_STORE}/{number}"
        _write(source, file.data, file.mode)
        Path(file.path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write(file.path, b"", 0o400)
        syscalls.mount(source, file.path, None, syscalls.MS_BIND)
        syscalls.mount_setattr(file.path, _READ_ONLY, recursive=False)
    syscalls.umount(_STORE, syscalls.MNT_DETACH)
    Path(_STORE).rmdir()


def _write(path: str, data: bytes, mode: int) -> None:
    descriptor = os.open(path, _CREATE, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        os.fchmod(descriptor, mode)
