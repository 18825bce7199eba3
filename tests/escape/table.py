"""The table of attempts to leave a cell: names, what each tries, and how it has to fail.

This folder runs in two places: in cells, where every attempt must fail as the table says, and
outside of them, as the control, where it must succeed. So there is nothing here but the standard
library, and an attempt takes what differs between the two places from `Place`.

An attempt gets through by returning. It fails by an `OSError`, by `Nothing`, or by the signal that
ends its process. Anything else is a mistake in the attempt, and denies nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["APART", "HERE", "NO_CONTROL", "PROBES", "X86", "Nothing", "Place", "Probe"]
__all__ += ["attempt", "call", "libc", "number", "probe", "word_for"]

HERE: Final = "here"
"""The control runs as a process beside the tests: it looks, and changes nothing."""

APART: Final = "apart"
"""The control runs in namespaces of its own, of every kind but users."""

NO_CONTROL: Final = "none"
"""There is none, since getting through would change the machine or needs what few have."""

X86: Final = "x86_64"

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Nothing(Exception):  # noqa: N818  # what was found, not what went wrong
    """The attempt looked, and found nothing that it should not have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt runs, and what it may aim at there.

    Attributes:
        secret: A file of the trusted side, which holds `canary`.
        canary: What must not be read.
        folder: A folder that is written to: the scratch.
        scratch_bytes: What fits into it.
        inodes: More files than fit into it.
        read_only: A file of the runtime, and one of the recipe's own folder.
        root: What stands before the absolute path of something to be made.
        null: The device, or a stand-in that everybody may write to.
        memory_bytes: More than a process may have.
        tasks: More threads than it may have.
        pipe: The descriptor of a connected local stream socket.
        trusted: A process on the other side.
        address: Where `canary` lies in its memory.
        tcp: A port of 127.0.0.1 where somebody listens.
        abstract: A name of a local socket where somebody listens.
        path: A path of one.
        shm: The number of a SysV segment that holds `canary`.
        listed: Numbers of all system calls that a cell may make, or that are narrowed.
        peer: The descriptor of that socket's other end, which a cell does not have.
    """

    secret: str
    canary: str
    folder: str
    scratch_bytes: int
    inodes: int
    read_only: tuple[str, str]
    root: str
    null: str
    memory_bytes: int
    tasks: int
    pipe: int
    trusted: int
    address: int
    tcp: int
    abstract: str
    path: str
    shm: int
    listed: tuple[int, ...]
    peer: int


Attempt = Callable[[Place], object]


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt.

    Attributes:
        name: `area.what`.
        tried: What is tried, in a sentence.
        denied: The ways in which it may fail: names of errors or signals, or `nothing`.
        run: The attempt.
        control: Where it must succeed.
        why: Why there is no control; only where there is none.
        machine: The only processor architecture that has this, or none.
        alone: Whether even a denied attempt ends or spoils its process for others.
    """

    name: str
    tried: str
    denied: tuple[str, ...]
    run: Attempt
    control: str
    why: str
    machine: str
    alone: bool


PROBES: Final[dict[str, Probe]] = {}


def probe(
    name: str,
    tried: str,
    *denied: str,
    control: str = HERE,
    why: str = "",
    machine: str = "",
    alone: bool = False,
) -> Callable[[Attempt], Attempt]:
    """Put a function into the table."""

    def put(run: Attempt) -> Attempt:
        if name in PROBES or not denied or (control == NO_CONTROL) != bool(why):
            raise ValueError(f"the table cannot hold {name}")
        PROBES[name] = Probe(name, tried, denied, run, control, why, machine, alone)
        return run

    return put


def attempt(name: str, place: Place) -> dict[str, str]:
    """Try one thing; say how it was denied, what came through, or what is wrong with it."""
    try:
        found = PROBES[name].run(place)
    except Nothing as e:
        return {"denied": "nothing", "text": str(e)}
    except (OSError, MemoryError, RuntimeError) as e:
        word = word_for(e)
        return {"denied": word, "text": str(e)} if word else {"mistake": repr(e)}
    except BaseException as e:  # noqa: BLE001  # told to the test, which fails
        return {"mistake": repr(e)}
    return {"through": repr(found)[:200]}


def word_for(error: Exception) -> str:
    """Return the table's word for an error; an empty one where it has none."""
    if isinstance(error, MemoryError):
        return "ENOMEM"
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "")
    return "EAGAIN" if "start new thread" in str(error) else ""


def call(name: str, *arguments: Any, reached: tuple[str, ...] = ()) -> int:
    """Make a system call by its number.

    `reached` names errors that only the kernel's own function gives, for arguments that it cannot
    use: the call got through, and did nothing.
    """
    given = [_word(argument) for argument in arguments]
    given += [ctypes.c_long(0)] * (6 - len(given))
    ctypes.set_errno(0)
    result = int(libc.syscall(ctypes.c_long(number(name)), *given))
    if result == -1 and (problem := ctypes.get_errno()):
        if errno.errorcode.get(problem) in reached:
            return 0
        raise OSError(problem, os.strerror(problem), name)
    return result


def number(name: str) -> int:
    """Return a system call's number on this machine."""
    found = _NUMBERS[name][0 if platform.machine() == X86 else 1]
    if found is None:
        raise ValueError(f"{platform.machine()} has no {name}")
    return found


def _word(argument: Any) -> Any:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


# Numbers on x86-64 and AArch64.
_NUMBERS: Final[dict[str, tuple[int | None, int | None]]] = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280),
    "cachestat": (451, 451), "capget": (125, 90), "capset": (126, 91), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "clone": (56, 220),
    "clone3": (435, 435), "close_range": (436, 436), "connect": (42, 203),
    "copy_file_range": (326, 285), "delete_module": (176, 106), "execve": (59, 221),
    "execveat": (322, 281), "fanotify_init": (300, 262), "finit_module": (313, 273),
    "fork": (57, None), "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430),
    "fspick": (433, 433), "futex": (202, 98), "getpid": (39, 172), "gettid": (186, 178),
    "init_module": (175, 105), "inotify_init1": (294, 26), "io_setup": (206, 0),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_uring_setup": (425, 425),
    "ioperm": (173, None), "iopl": (172, None), "ioprio_set": (251, 30), "kcmp": (312, 272),
    "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "kill": (62, 129), "landlock_create_ruleset": (444, 444), "listmount": (458, 458),
    "lookup_dcookie": (212, 18), "mbind": (237, 235), "membarrier": (324, 283),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "migrate_pages": (256, 238), "mincore": (27, 232),
    "mlock": (149, 228), "mlockall": (151, 230), "mmap": (9, 222), "modify_ldt": (154, None),
    "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "msgget": (68, 186), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "openat2": (437, 437), "perf_event_open": (298, 241),
    "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "pkey_alloc": (330, 289),
    "prctl": (157, 167), "prlimit64": (302, 261), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60),
    "reboot": (169, 142), "recvmsg": (47, 212), "remap_file_pages": (216, 234),
    "request_key": (249, 218), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "sched_setscheduler": (144, 119), "seccomp": (317, 277), "semget": (64, 190),
    "sendmsg": (46, 211), "set_robust_list": (273, 99), "sethostname": (170, 161),
    "setdomainname": (171, 162), "setns": (308, 268), "settimeofday": (164, 170),
    "shmat": (30, 196), "shmget": (29, 194), "socket": (41, 198), "socketpair": (53, 199),
    "splice": (275, 76), "statmount": (457, 457), "swapoff": (168, 225), "swapon": (167, 224),
    "syslog": (103, 116), "sysinfo": (99, 179), "tee": (276, 77), "tgkill": (234, 131),
    "timer_create": (222, 107), "timerfd_create": (283, 85), "tkill": (200, 130),
    "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282), "vfork": (58, None),
    "vhangup": (153, 58), "vmsplice": (278, 75), "waitid": (247, 95), "wait4": (61, 260),
}  # fmt: skip
