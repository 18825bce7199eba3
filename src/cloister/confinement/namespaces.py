"""Entering new namespaces, and giving up every privilege that came with them.

Trust: everything here runs before the workload, in processes forked from the launcher.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls
from cloister.confinement.seccomp import ARCHITECTURES, filter_program

__all__ = [
    "CORE_LIMIT",
    "drop_privileges",
    "enter_namespaces",
    "forbid_core_dumps",
    "forbid_nested_namespaces",
    "map_own_identity",
    "reset_signals",
    "write_own_file",
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
CORE_LIMIT: Final = 1


def enter_namespaces() -> None:
    """Leave all namespaces for new ones; children live in the new pid namespace."""
    syscalls.unshare(_ALL_NAMESPACES)


def map_own_identity(user_id: int, group_id: int, *, proc: int | None = None) -> None:
    """Give this user and group the same numbers in the new user namespace, and nobody else one.

    Args:
        user_id: This process's user.
        group_id: Its group.
        proc: A descriptor of a procfs, for who has none at /proc.
    """
    write_own_file("setgroups", "deny", proc=proc)
    write_own_file("uid_map", f"{user_id} {user_id} 1", proc=proc)
    write_own_file("gid_map", f"{group_id} {group_id} 1", proc=proc)


def write_own_file(name: str, text: str, *, proc: int | None = None) -> None:
    """Write a file of this process's in procfs: that of /proc, or that of a descriptor."""
    path = f"/proc/self/{name}" if proc is None else f"self/{name}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    with os.fdopen(descriptor, "wb", buffering=0) as stream:
        stream.write(text.encode("ascii"))


def forbid_nested_namespaces() -> None:
    """Let nobody in this user namespace make another; needs this pid namespace's /proc."""
    Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")


def forbid_core_dumps(*, proc: int | None = None) -> None:
    """Keep this process's memory, and its children's, out of core files and core handlers."""
    write_own_file("coredump_filter", "0", proc=proc)
    resource.setrlimit(resource.RLIMIT_CORE, (CORE_LIMIT, CORE_LIMIT))


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
