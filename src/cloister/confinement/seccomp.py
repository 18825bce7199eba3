"""A seccomp filter for the workload: no kernel doors that namespaces leave open.

Namespaces do not cover AF_VSOCK (which reaches the host of a virtual machine), io_uring, keyrings,
BPF, performance counters or user-mode fault handling; each has been a way out. Denied calls fail
with EPERM, io_uring with ENOSYS so that libraries fall back. Everything else is allowed: this is a
second line behind the namespaces, not a sandbox of its own; what a cell may call is in
`cell_filter`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Final

__all__ = ["ARCHITECTURES", "FOR_CELLS", "filter_program"]

_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARG0: Final = 16
_X32_BIT: Final = 0x40000000
_SOCKET_FAMILIES: Final = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

# Numbers that both architectures share.
_COMMON: Final[dict[str, int]] = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip

ARCHITECTURES: Final[dict[str, tuple[int, int, Mapping[str, int]]]] = {
    "x86_64": (
        0xC000003E,
        41,
        _COMMON
        | {
            "ptrace": 101, "syslog": 103, "pivot_root": 155, "adjtimex": 159, "acct": 163,
            "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
            "reboot": 169, "init_module": 175, "delete_module": 176, "quotactl": 179,
            "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249,
            "keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
            "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
        },
    ),
    "aarch64": (
        0xC00000B7,
        198,
        _COMMON
        | {
            "umount2": 39, "mount": 40, "pivot_root": 41, "quotactl": 60, "acct": 89,
            "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
            "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
            "settimeofday": 170, "adjtimex": 171, "add_key": 217, "request_key": 218,
            "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
            "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
            "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
            "kexec_file_load": 294,
        },
    ),
}  # fmt: skip

# What making cells takes; inside a user namespace of its own it reaches nothing that was there.
FOR_CELLS: Final = frozenset(
    {"mount", "umount2", "pivot_root", "mount_setattr", "unshare", "setns"}
)


def filter_program(machine: str, *, cells: bool = False) -> bytes:
    """Return the BPF program for a processor architecture of `ARCHITECTURES`.

    With `cells`, the calls of `FOR_CELLS` are not among those that it refuses.

    It kills a process that calls through another architecture's entry, refuses the x32 entry and
    the listed calls, and lets sockets be of the local, IP and route families only.
    """
    audit_arch, socket_number, denied = ARCHITECTURES[machine]
    program = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, audit_arch, when_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, when_false=1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for name, number in sorted(denied.items(), key=lambda item: item[1]):
        if cells and name in FOR_CELLS:
            continue
        reason = errno.ENOSYS if name.startswith("io_uring") else errno.EPERM
        program.append(_instruction(_JUMP_EQUAL, number, when_false=1))
        program.append(_instruction(_RETURN, _ERRNO | reason))
    program.append(_instruction(_JUMP_EQUAL, socket_number, when_true=1))
    program.append(_instruction(_RETURN, _ALLOW))
    program.append(_instruction(_LOAD, _OFFSET_ARG0))
    for family in _SOCKET_FAMILIES:
        program.append(_instruction(_JUMP_EQUAL, family, when_false=1))
        program.append(_instruction(_RETURN, _ALLOW))
    program.append(_instruction(_RETURN, _ERRNO | errno.EAFNOSUPPORT))
    return b"".join(program)


def _instruction(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)
