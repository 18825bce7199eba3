"""The file tree of cells: a read-only runtime, facts about the machine that say nothing, a scratch.

Everything is planned from a look at the running interpreter, then built once by the warm parent.
Each cell adds its own scratch and its own files. Invariants:

1. Nothing is there but libraries, packages, two devices and what this file writes.
2. There is no procfs and no sysfs: `/proc` and `/sys` hold plain files, written before any data was
   seen, for libraries that ask how many processors there are or what their program is called.
3. All but `/scratch` is read-only, the two devices' names and times as well, and nothing in
   `/scratch` can be mapped for execution.

Spec: confinement-cell.
"""

from __future__ import annotations

import os
import re
import site
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cloister
from cloister.confinement import syscalls
from cloister.confinement.mounts import OLD_ROOT, Bind, TextFile, mount_memory

__all__ = [
    "CELL_FILES",
    "SCRATCH",
    "build_cell_root",
    "fact_files",
    "granted_places",
    "mount_own_files",
    "mount_own_scratch",
    "runtime_binds",
]

SCRATCH: Final = "/scratch"
CELL_FILES: Final = "/cell"

_SYSTEM_LIBRARIES: Final = (
    "/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/local/lib",
)  # fmt: skip
_DEVICES: Final = ("null", "urandom")
_READ_ONLY: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
)
# Read-only does not hinder reading or writing a device; its times, which the machine sees, stay.
_DEVICE: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC
)
_ROOM_FOR_FILES: Final = 1 << 16


def runtime_binds() -> tuple[Bind, ...]:
    """Return what the interpreter that runs this needs: libraries and packages, and no data.

    The import path is not followed: with a script or `-m`, it starts with a folder of anybody's.
    """
    folders = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        sysconfig.get_config_var("LIBDIR") or "",
        *site.getsitepackages(),
        str(Path(cloister.__file__).resolve().parent.parent),
    ]
    wanted = [folder for folder in folders if folder and Path(folder).is_dir()]
    found: dict[str, str] = {}
    for folder in wanted:
        for target in (folder, str(Path(folder).resolve())):
            found.setdefault(target, str(Path(folder).resolve()))
    return tuple(Bind(source, target) for target, source in sorted(found.items()))


def fact_files(memory_bytes: int, user_id: int, group_id: int) -> tuple[TextFile, ...]:
    """Return the plain files that stand for `/proc` and `/sys`: the same in every cell."""
    count = os.cpu_count() or 1
    every = "0" if count == 1 else f"0-{count - 1}"
    kibibytes = memory_bytes >> 10
    memory = "".join(
        f"{name + ':':<16}{kibibytes:>8} kB\n" for name in ("MemTotal", "MemFree", "MemAvailable")
    )
    processors = "/sys/devices/system/cpu"
    return (
        TextFile("/proc/cpuinfo", _without_clock(Path("/proc/cpuinfo").read_text("utf-8"))),
        TextFile("/proc/meminfo", memory),
        *(TextFile(f"{processors}/{name}", f"{every}\n") for name in _PROCESSOR_LISTS),
        TextFile("/etc/passwd", f"cell:x:{user_id}:{group_id}::{SCRATCH}:/nologin\n"),
        TextFile("/etc/group", f"cell:x:{group_id}:\n"),
        TextFile("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    )


_PROCESSOR_LISTS: Final = ("online", "possible", "present")


def build_cell_root(binds: Sequence[Bind], files: Sequence[TextFile]) -> None:
    """Make the tree on a new tmpfs, pivot into it, and let go of everything else.

    Runs with every capability of a new user and mount namespace.

    Raises:
        OSError: The step that failed.
    """
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    staging = "/tmp"  # noqa: S108  # covered by a tmpfs that only this mount namespace has
    mount_memory(staging, "mode=0755")
    Path(staging + OLD_ROOT).mkdir()
    syscalls.pivot_root(staging, staging + OLD_ROOT)
    os.chdir("/")
    for bind in _sorted_once([*_system_binds(), *binds]):
        _bind(bind)
    for path in _SYSTEM_LIBRARIES:
        source = Path(OLD_ROOT + path)
        if source.is_symlink() and not Path(path).exists():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(source.readlink())
    for file in files:
        Path(file.path).parent.mkdir(parents=True, exist_ok=True)
        Path(file.path).write_text(file.content, encoding="utf-8")
    Path("/dev").mkdir(exist_ok=True)
    for name in _DEVICES:
        Path(f"/dev/{name}").touch()
        syscalls.mount(f"{OLD_ROOT}/dev/{name}", f"/dev/{name}", None, syscalls.MS_BIND)
        syscalls.mount_setattr(f"/dev/{name}", _DEVICE, recursive=False)
    for folder in (SCRATCH, CELL_FILES):
        Path(folder).mkdir()
    # TensorFlow ends the process where this cannot be read, and where it is called Python and
    # there is no command line. It leads nowhere.
    Path("/proc/self").mkdir()
    Path("/proc/self/exe").symlink_to("/program")
    temporary = Path("/tmp")  # noqa: S108  # of this tree
    if not temporary.exists():  # it is there where the interpreter lies below it: read-only then
        temporary.symlink_to(SCRATCH)
    syscalls.umount(OLD_ROOT, syscalls.MNT_DETACH)
    Path(OLD_ROOT).rmdir()
    syscalls.mount_setattr("/", _READ_ONLY, recursive=False)


def mount_own_scratch(scratch_bytes: int, *, user_id: int, group_id: int) -> None:
    """Give the calling cell, in its own mount namespace, its scratch.

    Raises:
        OSError: The mount failed.
    """
    inodes = max(64, scratch_bytes >> 14)
    owner = f"uid={user_id},gid={group_id}"
    options = f"mode=0700,size={scratch_bytes},nr_inodes={inodes},{owner}"
    mount_memory(SCRATCH, options, syscalls.MS_NOEXEC)


def mount_own_files(files: Sequence[tuple[str, bytes]]) -> None:
    """Give the calling cell, in its own mount namespace, its files.

    Raises:
        OSError: The mount failed, or a file has no plain name.
    """
    total = sum(len(data) for _, data in files)
    room = total + _ROOM_FOR_FILES + 4096 * len(files)
    mount_memory(CELL_FILES, f"mode=0755,size={room}", syscalls.MS_NOEXEC)
    for name, data in files:
        path = Path(CELL_FILES) / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o444), "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), 0o444)
    attributes = _READ_ONLY | syscalls.MOUNT_ATTR_NOEXEC
    syscalls.mount_setattr(CELL_FILES, attributes, recursive=False)


def granted_places() -> Iterator[str]:
    """Yield what there is to read at the top of the tree, apart from the scratch."""
    for path in sorted(Path("/").iterdir()):
        if str(path) != SCRATCH and not path.is_symlink():
            yield str(path)


def _system_binds() -> Iterator[Bind]:
    for path in _SYSTEM_LIBRARIES:
        source = Path(OLD_ROOT + path)
        if source.is_dir() and not source.is_symlink():
            yield Bind(path, path)
    if Path(f"{OLD_ROOT}/etc/ld.so.cache").is_file():
        yield Bind("/etc/ld.so.cache", "/etc/ld.so.cache")


def _sorted_once(binds: Sequence[Bind]) -> Iterator[Bind]:
    """Yield parents first, and leave out what a parent already shows."""
    kept: dict[str, str] = {}
    for bind in sorted(binds, key=lambda item: (item.target.count("/"), item.target)):
        places = [bind.target, *(str(parent) for parent in Path(bind.target).parents)]
        if any(
            place in kept and kept[place] + bind.target[len(place) :] == bind.source
            for place in places
        ):
            continue
        kept[bind.target] = bind.source
        yield bind


def _bind(bind: Bind) -> None:
    source, target = OLD_ROOT + bind.source, Path(bind.target)
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    syscalls.mount(source, bind.target, None, syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.mount_setattr(bind.target, _READ_ONLY, recursive=True)


def _without_clock(text: str) -> str:
    """Drop the one line that changes while the machine runs."""
    return re.sub(r"(?m)^cpu MHz\s*:.*\n", "", text)
