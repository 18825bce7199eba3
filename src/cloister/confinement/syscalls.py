"""The system calls that Python's standard library does not offer, each with its types.

Every function raises `OSError` with the errno and the call's name; nothing here decides anything.
Numbers are from the kernel's tables for x86-64 and AArch64.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import struct
from typing import Final

__all__ = [
    "CAP_NET_ADMIN",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "MNT_DETACH",
    "MOUNT_ATTR_NODEV",
    "MOUNT_ATTR_NOEXEC",
    "MOUNT_ATTR_NOSUID",
    "MOUNT_ATTR_NOSYMFOLLOW",
    "MOUNT_ATTR_RDONLY",
    "MS_BIND",
    "MS_MOVE",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "close_from",
    "die_with_parent",
    "drop_all_capabilities",
    "forbid_new_privileges",
    "keep_only",
    "landlock_abi",
    "landlock_add_path",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "load_filter",
    "mount",
    "mount_setattr",
    "pivot_root",
    "raise_loopback",
    "set_domain_name",
    "set_dumpable",
    "setns",
    "umount",
    "unshare",
]

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_BIND: Final = 0x1000
MS_MOVE: Final = 0x2000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 0x2

MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

CAP_NET_ADMIN: Final = 12
CAP_SETFCAP: Final = 31
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECCOMP_MODE_FILTER: Final = 2
# No special treatment of uid 0 (1), of uid changes (4), nor ambient raises (64), each locked (<<1).
_SECUREBITS_LOCKED: Final = 0x3 | 0xC | 0xC0
_SECUREBITS_NO_ROOT: Final = 0x3
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST_CAPABILITY_TRIED: Final = 63
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_CLOSE_RANGE_LAST: Final = 0xFFFFFFFF

_NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {"capset": 126, "pivot_root": 155},
    "aarch64": {"capset": 91, "pivot_root": 41},
}
_NR_CLOSE_RANGE: Final = 436
_NR_MOUNT_SETATTR: Final = 442
_NR_LANDLOCK_CREATE_RULESET: Final = 444
_NR_LANDLOCK_ADD_RULE: Final = 445
_NR_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_RULE_PATH_BENEATH: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names for new ones; a new pid namespace is for children."""
    _require(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that an open /proc/PID/ns file names; `kind` is a CLONE_NEW flag or 0."""
    _require(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Attach a file system, or with MS_BIND a part of one, at `target`."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        flags,
        None if data is None else data.encode(),
    )
    _require(result, "mount", target)


def mount_setattr(target: str, attributes: int, *, recursive: bool) -> None:
    """Add mount attributes at `target`, and below it if asked; it never takes one away.

    Unlike a remount it keeps what an outer user namespace has locked.
    """
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    path = os.fsencode(target)
    _require(
        _syscall(_NR_MOUNT_SETATTR, _AT_FDCWD, path, flags, request, len(request)),
        "mount_setattr",
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """Detach what is mounted at `target`."""
    _require(_libc.umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace; the old one appears at `put_old`."""
    _require(
        _syscall(_number("pivot_root"), os.fsencode(new_root), os.fsencode(put_old)), "pivot_root"
    )


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    _require(_syscall(_NR_CLOSE_RANGE, first, _CLOSE_RANGE_LAST, 0), "close_range")


def die_with_parent(signal_number: int) -> None:
    """Ask for `signal_number` when the thread that forked this process ends."""
    _require(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl(PDEATHSIG)")


def set_dumpable(value: int) -> None:
    """With 0, keep other processes of this user from reading this one's memory and /proc files."""
    _require(_libc.prctl(_PR_SET_DUMPABLE, value, 0, 0, 0), "prctl(DUMPABLE)")


def forbid_new_privileges() -> None:
    """Let no program that is executed from now on gain anything by its mode bits."""
    _require(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)")


def drop_all_capabilities(*, but: tuple[int, ...] = ()) -> None:
    """Give up every capability for good: bounding, ambient, effective, permitted, inheritable.

    Args:
        but: Those that this process keeps, and every program that it executes.
    """
    for capability in range(_LAST_CAPABILITY_TRIED + 1):
        if _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) < 0:
            break
        if capability not in but:
            _require(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl(CAPBSET_DROP)")
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    kept = sum(1 << capability for capability in but)
    if kept:
        everything = (1 << (_LAST_CAPABILITY_TRIED + 1)) - 1
        _set_capabilities(permitted=everything, inheritable=kept)
    for capability in but:
        raised = _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        _require(raised, "prctl(CAP_AMBIENT)")
    _require(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS_LOCKED, 0, 0, 0), "prctl(SECUREBITS)")
    _set_capabilities(permitted=kept, inheritable=kept)


def _set_capabilities(*, permitted: int, inheritable: int) -> None:
    """Set the sets, the effective one to what is permitted."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low = [value & 0xFFFFFFFF for value in (permitted, permitted, inheritable)]
    high = [value >> 32 for value in (permitted, permitted, inheritable)]
    _require(_syscall(_number("capset"), header, struct.pack("=6I", *low, *high)), "capset")


def keep_only(capability: int) -> None:
    """Give up every capability but one, which the next program that is executed has as well."""
    _require(_libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS_NO_ROOT, 0, 0, 0), "prctl(SECUREBITS)")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = (1 << capability) & 0xFFFFFFFF, capability >> 5 and 1 << (capability - 32)
    kept = struct.pack("=6I", low, low, low, high, high, high)
    _require(_syscall(_number("capset"), header, kept), "capset")
    raised = _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
    _require(raised, "prctl(CAP_AMBIENT)")


def load_filter(program: bytes) -> None:
    """Judge every later system call of this process by a seccomp BPF program.

    The caller has called `forbid_new_privileges`.
    """
    code = ctypes.create_string_buffer(program, len(program))
    instructions = len(program) // 8
    header = ctypes.create_string_buffer(
        struct.pack("=HxxxxxxQ", instructions, ctypes.addressof(code))
    )
    _require(
        _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header), 0, 0),
        "prctl(SECCOMP)",
    )


def landlock_abi() -> int:
    """Return the Landlock version that the kernel offers.

    Raises:
        OSError: ENOSYS where it was not built, EOPNOTSUPP where it is switched off.
    """
    return _require(
        _syscall(_NR_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION),
        "landlock_create_ruleset",
    )


def landlock_create_ruleset(attributes: bytes) -> int:
    """Make a ruleset from the kernel's description of it; return its descriptor."""
    return _require(
        _syscall(_NR_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0),
        "landlock_create_ruleset",
    )


def landlock_add_path(ruleset: int, place: int, rights: int) -> None:
    """Grant rights on what a descriptor names, and below it where it is a folder."""
    rule = struct.pack("=Qi", rights, place)
    result = _syscall(_NR_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    _require(result, "landlock_add_rule")


def landlock_restrict_self(ruleset: int) -> None:
    """Put this thread under a ruleset for good; `forbid_new_privileges` came before."""
    _require(_syscall(_NR_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")


def set_domain_name(name: str) -> None:
    """Set the NIS domain name of this UTS namespace."""
    encoded = name.encode("ascii")
    _require(_libc.setdomainname(encoded, len(encoded)), "setdomainname")


def raise_loopback() -> None:
    """Set the loopback interface of this network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _number(name: str) -> int:
    table = _NUMBERS.get(platform.machine())
    if table is None:
        raise OSError(38, f"{name}: not known for {platform.machine()} processors")
    return table[name]


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    result: int = _libc.syscall(ctypes.c_long(number), *converted)
    return result


def _require(result: int, name: str, path: str | None = None) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}", path)
    return result
