"""A cgroup for each cell, below folders that were delegated to whoever makes cells.

Versions 1 and 2. What rlimits count by process and by what a program asks for, a cgroup counts by
what it uses, with what the kernel holds for it. Folders are held by descriptors: the tree of cells
shows none.

Spec: confinement-cell.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["CellCgroups"]

_MEMORY: Final = ("memory.max", "memory.limit_in_bytes")
_TASKS: Final = ("pids.max",)
# Where it is there: memory that is swapped out would not count.
_NO_SWAP: Final = "memory.swap.max"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class CellCgroups:
    """The delegated folders, one of version 2 or one for each controller of version 1."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Open them; with none, no cell has a cgroup."""
        self._folders = [os.open(folder, _FOLDER) for folder in folders]

    def make(self, name: str, *, memory_bytes: int, tasks: int) -> None:
        """Make a cell's group, with its limits.

        Raises:
            OSError: It cannot be made, or no folder has the controller of a limit.
        """
        try:
            self._make(name, ((_MEMORY, memory_bytes), (_TASKS, tasks)))
        except OSError:
            self.remove(name)
            raise

    def _make(self, name: str, limits: Sequence[tuple[Sequence[str], int]]) -> None:
        for folder in self._folders:
            os.mkdir(name, 0o755, dir_fd=folder)
        for files, value in limits if self._folders else ():
            written = [_write(group, file, value) for group in self._groups(name) for file in files]
            if not any(written):
                raise OSError(errno.ENODEV, f"no cgroup has {files[0]}")
        for group in self._groups(name):
            _write(group, _NO_SWAP, 0)

    def enter(self, name: str) -> None:
        """Move the calling process into its group, in each folder.

        Raises:
            OSError: The kernel refuses.
        """
        for group in self._groups(name):
            if not _write(group, "cgroup.procs", 0):
                raise OSError(errno.ENODEV, "this is no cgroup")

    def remove(self, name: str) -> None:
        """Remove a group whose cell has ended; one that cannot be is left."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=folder)

    def _groups(self, name: str) -> Iterator[int]:
        for folder in self._folders:
            group = os.open(name, _FOLDER, dir_fd=folder)
            try:
                yield group
            finally:
                os.close(group)


def _write(group: int, file: str, value: int) -> bool:
    """Write a number to a file of a group; return whether there is such a file."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        stream.write(b"%d" % value)
    return True
