"""Entering new namespaces, and giving up every privilege that came with them.

Trust: everything here runs before the workload, in processes forked from the launcher.
"""

from __future__ import annotations

import platform
import resource
import signal
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls
from cloister.confinement.seccomp import ARCHITECTURES, filter_program

__all__ = [
    "drop_privileges",
    "enter_namespaces",
    "forbid_core_dumps",
    "forbid_nested_namespaces",
    "map_own_identity",
    "reset_signals",
]

_ALL_NAMESPACES: Final = (
    syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
# A limit of 0 bytes does not stop a core dump that goes to a program; a limit of 1 stops both.
_CORE_LIMIT: Final = 1


def enter_namespaces() -> None:
    """Leave all namespaces for new ones; children live in the new pid namespace."""
    syscalls.unshare(_ALL_NAMESPACES)


def map_own_identity(user_id: int, group_id: int) -> None:
    """Give this user and group the same numbers in the new user namespace, and nobody else one."""
    process = Path("/proc/self")
    (process / "setgroups").write_text("deny", encoding="ascii")
    (process / "uid_map").write_text(f"{user_id} {user_id} 1", encoding="ascii")
    (process / "gid_map").write_text(f"{group_id} {group_id} 1", encoding="ascii")


def forbid_nested_namespaces() -> None:
    """Let nobody in this user namespace make another; needs this pid namespace's /proc."""
    Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")


def forbid_core_dumps() -> None:
    """Keep this process's memory, and its children's, out of core files and core handlers."""
    Path("/proc/self/coredump_filter").write_text("0", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (_CORE_LIMIT, _CORE_LIMIT))


def drop_privileges() -> None:
    """Give up capabilities, gains by exec and the calls that `seccomp` lists.

    Raises:
        OSError: A layer could not be put up; the caller must not go on.
    """
    syscalls.drop_all_capabilities()
    syscalls.forbid_new_privileges()
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(38, f"no system call filter for {machine} processors")
    syscalls.load_filter(filter_program(machine))


def reset_signals() -> None:
    """Give every signal its default action and unblock all, as a fresh program expects."""
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
