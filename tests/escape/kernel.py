"""Attempts on what the kernel does for administrators, and on what it does asynchronously."""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Final

from escape.table import APART, HERE, NO_CONTROL, Nothing, Place, call, libc, probe

_ATTEMPTS: Final[tuple[tuple[str, str, str, tuple[object, ...], tuple[str, ...], str], ...]] = (
    ("bpf", "Load a program into the kernel", "bpf", (99, None, 0), ("EINVAL", "E2BIG"), HERE),
    ("perf", "Count what processors do", "perf_event_open", (None, 0, -1, -1, 0), ("EFAULT",),
     HERE),
    ("kexec", "Start another kernel", "kexec_load", (0, 99, None, 0), ("EINVAL",), APART),
    ("kexec-file", "Start one from a file", "kexec_file_load", (-1, -1, 0, None, 0xFFFF),
     ("EINVAL", "EBADF", "ENOSYS"), APART),
    ("reboot", "Stop the machine", "reboot", (0, 0, 0, None), ("EINVAL",), APART),
    ("log", "Read the kernel's log", "syslog", (10, None, 0), (), HERE),
    ("host-name", "Rename the machine", "sethostname", (b"x", 1), (), APART),
    ("domain-name", "Give it a domain", "setdomainname", (b"x", 1), (), APART),
    ("module", "Load a module", "init_module", (None, 0, b""),
     ("EFAULT", "ENOEXEC", "ENOSYS"), APART),
    ("module-file", "Load one from a file", "finit_module", (-1, b"", 0), ("EBADF", "ENOSYS"),
     APART),
    ("module-away", "Unload one", "delete_module", (b"cloister-none", 0x800), ("ENOENT", "ENOSYS"),
     APART),
    ("hang-up", "Hang up a terminal", "vhangup", (), (), APART),
    ("profile", "Read a profiler's names", "lookup_dcookie", (0, None, 0),
     ("EINVAL", "ENOSYS"), APART),
    ("key-add", "Leave a key in a ring", "add_key", (b"user", b"escape", b"x", 1, -2), (), APART),
    ("key-request", "Find a key", "request_key", (b"user", b"escape-none", None, 0),
     ("ENOKEY",), APART),
    ("key-ring", "Enter another ring of keys", "keyctl", (1, None), (), APART),
    ("key-read", "Read a ring of the user's", "keyctl", (0, -4, 1), (), APART),
    ("uring", "Have the kernel do things from a ring", "io_uring_setup", (1, None), ("EFAULT",),
     HERE),
    ("uring-enter", "Enter a ring", "io_uring_enter", (-1, 0, 0, 0, None, 0), ("EBADF",), HERE),
    ("uring-register", "Register something with one", "io_uring_register", (-1, 0, None, 0),
     ("EBADF", "EINVAL"), HERE),
    ("aio", "Have it do things from a queue", "io_setup", (0, None), ("EINVAL", "EFAULT"), HERE),
    ("clock", "Set the clock", "clock_settime", (0, None), ("EFAULT",), HERE),
    ("clock-old", "Set it by the older call", "settimeofday", (b"\xff" * 16, None), ("EINVAL",),
     HERE),
    ("clock-rate", "Change its rate", "adjtimex", (None,), ("EFAULT",), HERE),
    ("clock-rate-of", "Change the rate of one", "clock_adjtime", (0, None), ("EFAULT",), HERE),
    ("timer", "Make a timer that signals", "timer_create", (1, None, None), ("EFAULT",), HERE),
    ("timer-descriptor", "Make one that is read", "timerfd_create", (1, 0), (), HERE),
    ("landlock", "Make rules of its own", "landlock_create_ruleset", (None, 0, 0),
     ("EINVAL", "EFAULT", "ENOMSG"), HERE),
    ("personality", "Turn off address randomisation", "personality", (0x0040000,), (), APART),
    ("copy-file", "Have it copy files", "copy_file_range", (-1, None, -1, None, 0, 0), ("EBADF",),
     HERE),
)  # fmt: skip
for _name, _tried, _call, _arguments, _reached, _control in _ATTEMPTS:
    _denied = (
        "ENOSYS"
        if _call in {"io_uring_setup", "landlock_create_ruleset", "copy_file_range"}
        else "EPERM"
    )
    probe(f"kernel.{_name}", _tried, _denied, control=_control)(
        lambda _, name=_call, arguments=_arguments, reached=_reached: call(
            name, *arguments, reached=reached
        )
    )


@probe(
    "kernel.every-other-call",
    "Make every system call that is not on the list",
    "nothing",
    alone=True,
)
def _every_other_call(place: Place) -> object:
    return _sweep(place, 0)


@probe("kernel.every-x32-call", "Make every call of the x32 kind", "nothing", machine="x86_64",
       control=NO_CONTROL, why="few kernels have that table")  # fmt: skip
def _every_x32_call(place: Place) -> object:
    return _sweep(place, 0x40000000)


# Calls of the kernel's own trampolines (uprobes). No filter is asked about them, and whoever makes
# them from elsewhere is killed, so that they lead nowhere.
_TRAPS: Final = frozenset({335, 336} if platform.machine() == "x86_64" else ())


def _sweep(place: Place, bit: int) -> object:
    """Call with arguments that no function takes; a kernel that looks at them says so."""
    bad = [ctypes.c_long(-1)] * 6
    found = []
    listed = () if bit or place.peer >= 0 else place.listed  # outside, nothing is listed
    for number in [*range(470), 512, 520, 547]:
        if number in listed or number in _TRAPS or (not listed and number in _HARMFUL):
            continue
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(bit | number), *bad)
        if result != -1 or ctypes.get_errno() not in {1, 38}:
            found.append((bit | number, result, ctypes.get_errno()))
    if found:
        return found
    raise Nothing("all are refused")


# Outside, where nothing refuses these: they end, stop or detach whoever makes them.
_HARMFUL: Final = frozenset(
    {15, 34, 56, 57, 58, 60, 61, 101, 112, 130, 153, 162, 219, 231, 247, 435}
    if platform.machine() == "x86_64"
    else {58, 81, 93, 94, 95, 117, 128, 133, 139, 157, 220, 260, 435}
)


@probe("kernel.futex-priority", "Lock by the calls that lend priorities", "ENOSYS")
def _futex_priority(_: Place) -> object:
    word = ctypes.c_uint32()
    return call("futex", ctypes.byref(word), 6, 0, None, None, 0)


@probe("kernel.futex-handed-over", "Hand waiters over to such a lock", "ENOSYS")
def _futex_handed_over(_: Place) -> object:
    word, other = ctypes.c_uint32(), ctypes.c_uint32()
    return call("futex", ctypes.byref(word), 12, 1, 0, ctypes.byref(other), 0)


for _name, _command in (("all", 1), ("registered", 2), ("to-register", 4)):
    probe(
        f"kernel.barrier-{_name}",
        f"Have other processes interrupted (membarrier {_command})",
        "EINVAL",
    )(lambda _, command=_command: call("membarrier", command, 0, 0))


@probe("kernel.own-clock", "See another time than the machine's, set by itself", "nothing")
def _own_clock(_: Place) -> object:
    for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC):
        try:
            time.clock_settime(clock, time.clock_gettime(clock))
        except PermissionError:
            continue
        except OSError:
            return "asked"
        return "set"
    raise Nothing("no clock can be set")
