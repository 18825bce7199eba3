"""Mount a file system served through `/dev/fuse` in the caller's own mount namespace.

Needs no program and no library beside the kernel: mount(2) wants CAP_SYS_ADMIN over the caller's
mount namespace, which an ordinary user has inside a user namespace of his own. The device must
be opened in that same user namespace, which is why opening and mounting are one step here.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EPERM
from pathlib import Path
from typing import Final

from cloister.errors import UnavailableError, UnsupportedError

__all__ = ["Mounted", "mount_options", "open_and_mount", "raise_read_ahead", "unmount"]

_DEVICE: Final = "/dev/fuse"
_TYPE: Final = "fuse.cloister"
_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MNT_DETACH: Final = 2
_READ_AHEAD_KB: Final = 1024
_MAX_READ: Final = 1024 * 1024
_HINTS: Final = {
    ENOENT: "load the kernel module: modprobe fuse; in a container, pass --device /dev/fuse",
    ENODEV: "load the kernel module: modprobe fuse",
    EACCES: "let this user open the device: chmod 0666 /dev/fuse, or run as root",
    EPERM: "run as root, or inside a user namespace (unshare -Urm); in a container, allow mount(2)",
    EINVAL: "the kernel refused the mount options; it must be Linux 5.4 or newer",
}


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount that waits for its server.

    Attributes:
        descriptor: The open `/dev/fuse` that the server must read. Whoever holds it last ends the
            mount by closing it; keep it out of the workload.
        device: The mount's device number as the kernel prints it, such as `0:53`.
    """

    descriptor: int
    device: str


def mount_options(descriptor: int, *, uid: int, gid: int) -> str:
    """Return mount(2)'s data for a FUSE mount.

    Args:
        descriptor: The open device.
        uid: Who mounts, as the caller's user namespace numbers it.
        gid: The same for the group.
    """
    return (
        f"fd={descriptor},rootmode=40000,user_id={uid},group_id={gid},"
        f"default_permissions,allow_other,max_read={_MAX_READ}"
    )


def open_and_mount(target: Path, *, name: str, read_only: bool) -> Mounted:
    """Open the device and mount it on a directory; calls on the mount block until it is served.

    Args:
        target: An existing directory of the caller's mount namespace.
        name: What `mount` shows as the source; no secrets, no commas.
        read_only: Let the kernel refuse every change.

    Raises:
        UnsupportedError: Code `machine.fuse`: no device, or no right to open it or to mount.
    """
    target = target.resolve()
    try:
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        raise _unsupported(f"opening {_DEVICE}", e.errno or ENODEV) from e
    flags = _MS_NOSUID | _MS_NODEV | (_MS_RDONLY if read_only else 0)
    options = mount_options(descriptor, uid=os.getuid(), gid=os.getgid())
    failure = _libc_call(
        "mount", name.encode(), bytes(target), _TYPE.encode(), flags, options.encode()
    )
    if failure:
        os.close(descriptor)
        raise _unsupported(f"mounting on {target}", failure)
    return Mounted(descriptor, _device_number(target))


def unmount(target: Path, *, detach: bool) -> None:
    """Take a mount away.

    Args:
        target: Where it is mounted.
        detach: Take it out of the tree now and end it when its last user is gone, instead of
            failing while it is in use.

    Raises:
        UnavailableError: Code `volume.busy`: still in use.
        UnsupportedError: Code `machine.fuse`: not ours to unmount.
    """
    failure = _libc_call("umount2", bytes(target), _MNT_DETACH if detach else 0)
    if failure == EBUSY:
        raise UnavailableError(f"{target} is still in use", code="volume.busy")
    if failure:
        raise _unsupported(f"unmounting {target}", failure)


def raise_read_ahead(device: str) -> bool:
    """Let the kernel read further ahead on a mount; tell whether it may be done here.

    Only root of the machine may. Without it, cold sequential reading is a quarter slower.
    """
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(f"{_READ_AHEAD_KB}\n", "ascii")
    except OSError:
        return False
    return True


def _device_number(target: Path) -> str:
    """Find a mount's device number without asking its server, which may not run yet."""
    where = os.fsencode(target)
    found = ""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if fields[4].decode("unicode_escape").encode("latin-1") == where:
            found = fields[2].decode("ascii")
    return found


def _libc_call(function: str, *arguments: bytes | int) -> int:
    """Call mount(2) or umount2(2); return 0 or the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    values = [ctypes.c_ulong(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return ctypes.get_errno() if getattr(libc, function)(*values) else 0


def _unsupported(doing: str, number: int) -> UnsupportedError:
    return UnsupportedError(
        f"{doing} failed: {os.strerror(number)}", code="machine.fuse", hint=_HINTS.get(number)
    )
