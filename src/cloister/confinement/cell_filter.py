"""The system calls that a cell may make: a list of what is allowed, and nothing else.

Unlike the workload's filter (`seccomp`), which names doors that namespaces leave open, this one
must hold alone: it is loaded into a process that runs code which nobody has read. What is not
listed fails with EPERM, and with ENOSYS where libraries have another way then. Invariants:

1. No other process: only threads of this one, no exec, signals to itself alone.
2. No way to get or to send a descriptor, and no socket: the pipe is read and written.
3. No memory that a limit does not count: none that is shared without a file, none that grows down.
4. No lock, no advice and no barrier that others notice, and no name that they see.
5. No record in the kernel's log of what was refused: whoever reads that is outside.

Spec: confinement-cell. Numbers are from the kernel's tables for x86-64 and AArch64.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["ALLOWED", "MACHINES", "NARROWED", "WITHOUT", "cell_filter", "number_of"]

_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARGUMENTS: Final = 16
_X32_BIT: Final = 0x40000000
_WORD: Final = 0xFFFFFFFF

MACHINES: Final[dict[str, tuple[int, int]]] = {
    "x86_64": (0xC000003E, 0),
    "aarch64": (0xC00000B7, 1),
}
"""Processor architecture to the kernel's name of it, and the column of the tables below."""

# Name to number on x86-64 and on AArch64; None where that has no such call. Frequent ones first.
ALLOWED: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63), "write": (1, 64), "clock_gettime": (228, 113),
    "munmap": (11, 215), "mprotect": (10, 226), "brk": (12, 214),
    "sched_yield": (24, 124), "getpid": (39, 172), "gettid": (186, 178), "poll": (7, None),
    "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "lseek": (8, 62),
    "open": (2, None), "openat": (257, 56), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "getdents": (78, None), "getdents64": (217, 61), "readlink": (89, None),
    "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "preadv": (295, 69), "pwritev": (296, 70), "mremap": (25, 216), "msync": (26, 227),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "pause": (34, None), "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "time": (201, None), "times": (100, 153), "getrusage": (98, 165), "getrlimit": (97, 163),
    "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158),
    "getppid": (110, 173), "uname": (63, 160), "umask": (95, 166),
    "sched_getaffinity": (204, 123), "sched_getscheduler": (145, 120),
    "sched_getparam": (143, 121), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "getcpu": (309, 168),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None),
    "pipe2": (293, 59), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "close_range": (436, 436),
    "fsync": (74, 82), "fdatasync": (75, 83), "truncate": (76, 45), "ftruncate": (77, 46),
    "fallocate": (285, 47), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "link": (86, None), "linkat": (265, 37), "unlink": (87, None), "unlinkat": (263, 35),
    "symlink": (88, None), "symlinkat": (266, 36), "chmod": (90, None), "fchmod": (91, 52),
    "fchmodat": (268, 53), "utimensat": (280, 88),
    "getrandom": (318, 278), "rseq": (334, 293),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "restart_syscall": (219, 128),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip

# What libraries try first and can do without: they are told that there is no such call.
WITHOUT: Final[dict[str, tuple[int | None, int | None]]] = {
    "clone3": (435, 435), "memfd_create": (319, 279), "flock": (73, 32), "fadvise64": (221, 223),
    "mbind": (237, 235), "set_mempolicy": (238, 237), "get_mempolicy": (239, 236),
    "sched_setaffinity": (203, 122), "copy_file_range": (326, 285), "sendfile": (40, 71),
    "openat2": (437, 437), "io_uring_setup": (425, 425), "mincore": (27, 232),
    "sysinfo": (99, 179), "landlock_create_ruleset": (444, 444), "futex_waitv": (449, 449),
}  # fmt: skip

# Calls whose arguments decide. The first two are judged first, since they are frequent.
NARROWED: Final[dict[str, tuple[int | None, int | None]]] = {
    "futex": (202, 98), "mmap": (9, 222), "madvise": (28, 233), "membarrier": (324, 283),
    "ioctl": (16, 29), "fcntl": (72, 25), "clone": (56, 220),
    "kill": (62, 129), "tgkill": (234, 131), "prctl": (157, 167), "arch_prctl": (158, None),
    "prlimit64": (302, 261),
}  # fmt: skip

_CLONE_REQUIRED: Final = 0x00010F00  # VM, FS, FILES, SIGHAND, THREAD
# ... SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID, DETACHED (ignored), CHILD_SETTID
_CLONE_POSSIBLE: Final = (
    _CLONE_REQUIRED | 0x00040000 | 0x00080000 | 0x00100000 | 0x00200000 | 0x01400000
)
_MMAP_SHARED_WITHOUT_FILE: Final = 0x21  # MAP_SHARED, MAP_ANONYMOUS
_MMAP_UNCOUNTED: Final = 0x40100  # MAP_GROWSDOWN, MAP_HUGETLB
# FIONBIO, FIONCLEX, FIOCLEX, FIONREAD, TCGETS, TIOCGWINSZ
_IOCTLS: Final = (0x5421, 0x5450, 0x5451, 0x541B, 0x5401, 0x5413)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no locks, no leases, no signals
_FCNTLS: Final = (0, 1, 2, 3, 4, 1030)
_PR_GET_NAME: Final = 16
# PR_SET_NAME, PR_SET_VMA: names of threads and mappings stand in procfs and in the kernel's log,
# outside. Libraries are told that it was done, and go on.
_PRCTLS_PRETENDED: Final = (15, 0x53564D41)
# ARCH_SET_FS, ARCH_GET_FS, and asking for the processor's matrix registers
_ARCH_PRCTLS: Final = (0x1002, 0x1003, 0x1021, 0x1022, 0x1023)

# WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET: none that lends priorities
_FUTEXES: Final = (0, 1, 9, 10, 3, 4, 5)
_FUTEX_FLAGS: Final = 0x180  # FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
# NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE; DONTFORK to KEEPONFORK, without those that
# have equal pages merged, or pages of files put out, which others notice
_MADVICES: Final = (4, 8, 0, 1, 2, 3, 10, 11, 14, 15, 16, 17, 18, 19)
# QUERY, and what is about this process alone: expedited, of code, of rseq
_MEMBARRIERS: Final = (0, 8, 16, 32, 64, 128, 256)


def cell_filter(machine: str, process: int) -> bytes:
    """Return the BPF program for a processor architecture of `MACHINES`.

    A call through another architecture's entry fails: killing for it would be recorded outside.

    Args:
        machine: The architecture.
        process: The only process that signals may be sent to: the cell's own number.
    """
    audit_arch, column = MACHINES[machine]
    program = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, audit_arch, when_true=1),
        _fail(errno.ENOSYS),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_GREATER_EQUAL, _X32_BIT, when_false=1),
        _fail(errno.ENOSYS),
    ]
    blocks: list[tuple[int | None, list[bytes]]] = [
        (NARROWED[name][column], block) for name, block in _narrowed_blocks(process).items()
    ]
    blocks[2:2] = [(numbers[column], [_allow()]) for numbers in ALLOWED.values()]
    blocks += [(numbers[column], [_fail(errno.ENOSYS)]) for numbers in WITHOUT.values()]
    for number, block in blocks:
        if number is not None:
            program.append(_instruction(_JUMP_EQUAL, number, when_false=len(block)))
            program += block
    program.append(_fail(errno.EPERM))
    return b"".join(program)


def number_of(name: str, machine: str) -> int | None:
    """Return a listed call's number; None where the architecture has no such call."""
    column = MACHINES[machine][1]
    tables: Sequence[Mapping[str, tuple[int | None, int | None]]] = (ALLOWED, WITHOUT, NARROWED)
    return next(table[name][column] for table in tables if name in table)


def _narrowed_blocks(process: int) -> dict[str, list[bytes]]:
    return {
        "futex": [
            *_masked(1, _WORD & ~_FUTEX_FLAGS),
            *_allow_these(_FUTEXES),
            _fail(errno.ENOSYS),
        ],
        "mmap": [
            *_masked(3, _MMAP_UNCOUNTED),
            _instruction(_JUMP_EQUAL, 0, when_true=1),
            _fail(errno.ENOMEM),
            *_masked(3, _MMAP_SHARED_WITHOUT_FILE),
            _instruction(_JUMP_EQUAL, _MMAP_SHARED_WITHOUT_FILE, when_false=1),
            _fail(errno.EPERM),
            _allow(),
        ],
        "clone": [
            *_masked(0, _WORD & ~_CLONE_POSSIBLE),
            _instruction(_JUMP_EQUAL, 0, when_true=1),
            _fail(errno.EPERM),
            *_masked(0, _CLONE_REQUIRED),
            _instruction(_JUMP_EQUAL, _CLONE_REQUIRED, when_true=1),
            _fail(errno.EPERM),
            _allow(),
        ],
        "madvise": _one_of(2, _MADVICES, otherwise=errno.EINVAL),
        "membarrier": _one_of(0, _MEMBARRIERS, otherwise=errno.EINVAL),
        "ioctl": _one_of(1, _IOCTLS),
        "fcntl": _one_of(1, _FCNTLS),
        "kill": _one_of(0, (process,)),
        "tgkill": _one_of(0, (process,)),
        "prctl": [
            _instruction(_LOAD, _place(0, high=False)),
            *_allow_these((_PR_GET_NAME,)),
            *(
                step
                for value in _PRCTLS_PRETENDED
                for step in (_instruction(_JUMP_EQUAL, value, when_false=1), _fail(0))
            ),
            _fail(errno.EPERM),
        ],
        "arch_prctl": _one_of(0, _ARCH_PRCTLS),
        # Of itself, and reading only: no new limit.
        "prlimit64": [
            *_must_be_zero(0, high=False),
            *_must_be_zero(2, high=False),
            *_must_be_zero(2, high=True),
            _allow(),
        ],
    }


def _one_of(argument: int, values: Sequence[int], *, otherwise: int = errno.EPERM) -> list[bytes]:
    """Compare what the kernel compares: it takes each of these arguments for 32 bits."""
    load = _instruction(_LOAD, _place(argument, high=False))
    return [load, *_allow_these(values), _fail(otherwise)]


def _allow_these(values: Sequence[int]) -> list[bytes]:
    """Pass if what was loaded is one of these, and go on otherwise."""
    return [
        step
        for value in values
        for step in (_instruction(_JUMP_EQUAL, value, when_false=1), _allow())
    ]


def _masked(argument: int, mask: int) -> list[bytes]:
    return [_instruction(_LOAD, _place(argument, high=False)), _instruction(_AND, mask)]


def _must_be_zero(argument: int, *, high: bool) -> list[bytes]:
    return [
        _instruction(_LOAD, _place(argument, high=high)),
        _instruction(_JUMP_EQUAL, 0, when_true=1),
        _fail(errno.EPERM),
    ]


def _place(argument: int, *, high: bool) -> int:
    """Return where half of an argument lies; both architectures put the low half first."""
    return _OFFSET_ARGUMENTS + 8 * argument + (4 if high else 0)


def _allow() -> bytes:
    return _instruction(_RETURN, _ALLOW)


def _fail(number: int) -> bytes:
    return _instruction(_RETURN, _ERRNO | number)


def _instruction(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)
