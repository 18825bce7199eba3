"""Parts of a volume's place that are not the volume: memory, and folders of the host's.

The volume is mounted first and served; then this puts memory and host folders over some of its
folders, and folders of the volume over folders in that memory. Invariants:

1. A host folder is found without following a link, at its end or on the way, and held before the
   host's tree is let go.
2. In it nothing is executed, no device is opened, and no link is followed: what the host puts
   there can lead a program nowhere.
3. Nothing is ever mounted on a folder of the host's, who could take it away from under the mount.
4. Every folder on the way to something mounted in memory is a mount itself, so that none can be
   moved and carry it along.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls
from cloister.confinement.mounts import OLD_ROOT, mount_memory

__all__ = ["HostFolder", "RegionKind", "RegionMount", "hold_folders", "mount_regions"]

_HELD: Final = "/.regions"
# Of the machine's memory, for each: a program that fills one harms only its own run.
_MEMORY: Final = "mode=0755,size=25%,nr_inodes=1m"
_UNTRUSTED: Final = (
    syscalls.MOUNT_ATTR_NOSUID
    | syscalls.MOUNT_ATTR_NODEV
    | syscalls.MOUNT_ATTR_NOEXEC
    | syscalls.MOUNT_ATTR_NOSYMFOLLOW
)


class RegionKind(enum.Enum):
    """What is mounted."""

    MEMORY = "memory"
    FOLDER = "folder"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class HostFolder:
    """A folder of the host's; what is missing of it below `base` is made.

    Attributes:
        base: An absolute path without links.
        parts: The folders below it.
        read_only: Whether the workload may only read it.
    """

    base: str
    parts: tuple[str, ...]
    read_only: bool


@dataclass(frozen=True, slots=True)
class RegionMount:
    """One mount over a volume.

    Attributes:
        target: Where, in the workload's tree; inside a volume.
        kind: Fresh memory, a host folder, or the folder of the volume that is there.
        around: The target of the memory that it lies in; empty for one in the volume itself.
        folder: Which of the host folders, by their order.
    """

    target: str
    kind: RegionKind
    around: str = ""
    folder: int = 0


def hold_folders(folders: Sequence[HostFolder]) -> None:
    """Bind host folders at a place of our own; while the host's tree and /proc are there.

    Raises:
        OSError: One is no folder, or a link is on the way; nothing may go on.
    """
    for number, folder in enumerate(folders):
        place = f"{_HELD}/folder{number}"
        Path(place).mkdir(parents=True)
        descriptor = _open_folder(folder)
        try:
            source = f"/proc/self/fd/{descriptor}"
            syscalls.mount(source, place, None, syscalls.MS_BIND | syscalls.MS_REC)
        finally:
            os.close(descriptor)
        read_only = syscalls.MOUNT_ATTR_RDONLY if folder.read_only else 0
        syscalls.mount_setattr(place, _UNTRUSTED | read_only, recursive=True)


def mount_regions(mounts: Sequence[RegionMount]) -> list[str]:
    """Mount all of them over volumes that are served; return what to unmount, in any order.

    Args:
        mounts: A parent before what lies in it.

    Raises:
        OSError: A step failed; the workload must not start.
    """
    done: list[str] = []
    for number, item in enumerate(mounts):
        if item.kind is RegionKind.VOLUME:  # before anything covers it
            place = f"{_HELD}/volume{number}"
            Path(place).mkdir(parents=True)
            syscalls.mount(item.target, place, None, syscalls.MS_BIND)
    for number, item in enumerate(mounts):
        if item.around:
            done += _make_way(item.around, item.target)
        if item.kind is RegionKind.MEMORY:
            mount_memory(item.target, _MEMORY)
        else:
            name = f"{item.kind.value}{number if item.kind is RegionKind.VOLUME else item.folder}"
            syscalls.mount(f"{_HELD}/{name}", item.target, None, syscalls.MS_MOVE)
            Path(_HELD, name).rmdir()
        done.append(item.target)
    if Path(_HELD).exists():
        Path(_HELD).rmdir()
    return done


def _make_way(around: str, target: str) -> Iterator[str]:
    """Make the folders from a memory to a mount point in it; mount those between on themselves."""
    path = Path(around)
    between = Path(target).relative_to(around).parts
    for part in between[:-1]:
        path /= part
        if not path.exists():
            path.mkdir(mode=0o755)
            syscalls.mount(str(path), str(path), None, syscalls.MS_BIND)
            yield str(path)
    Path(target).mkdir(mode=0o755)


def _open_folder(folder: HostFolder) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with ExitStack() as stack:
        found = os.open(OLD_ROOT, flags)
        stack.callback(lambda: os.close(found))
        for part in Path(folder.base).parts[1:]:
            found, before = os.open(part, flags, dir_fd=found), found
            os.close(before)
        for part in folder.parts:
            try:
                inner = os.open(part, flags, dir_fd=found)
            except FileNotFoundError:
                os.mkdir(part, 0o700, dir_fd=found)
                inner = os.open(part, flags, dir_fd=found)
            found, before = inner, found
            os.close(before)
        stack.pop_all()
        return found
