"""Entering new namespaces, and giving up every privilege that came with them.

Trust: everything here runs before the workload, in processes forked from the launcher.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
from pathlib import Path
from typing import Final, NoReturn

from cloister.confinement import syscalls
from cloister.confinement.seccomp import ARCHITECTURES, filter_program

__all__ = [
    "CORE_LIMIT",
    "NOBODY",
    "drop_privileges",
    "enter_namespaces",
    "enter_namespaces_with_second_user",
    "forbid_core_dumps",
    "limit_nested_namespaces",
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
NOBODY: Final = 65534
"""The second user and group of a user namespace that has two."""
_FOR_MAPPING: Final = (syscalls.CAP_SETUID, syscalls.CAP_SETGID, syscalls.CAP_SETFCAP)


def enter_namespaces() -> None:
    """Leave all namespaces for new ones; children live in the new pid namespace."""
    syscalls.unshare(_ALL_NAMESPACES)


def enter_namespaces_with_second_user(user_id: int, group_id: int, *, proc: int) -> bool:
    """Leave all namespaces for new ones; return whether `NOBODY` is a second user there.

    Only a process outside can map a second user, and only root may. Where it may not, nobody is
    mapped yet, and `map_own_identity` comes next.

    Args:
        user_id: This process's user.
        group_id: Its group.
        proc: A descriptor of a procfs that can be written to.
    """
    process = os.getpid()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    answers, answer = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        os.read(reader, 1)
        _map_two(process, user_id, group_id, proc=proc, answer=answer)
    os.close(reader)
    os.close(answer)
    enter_namespaces()
    os.close(writer)
    mapped = os.read(answers, 1) == b"y"
    os.close(answers)
    os.waitpid(helper, 0)  # a child from before the new pid namespace
    return mapped


def _map_two(process: int, user_id: int, group_id: int, *, proc: int, answer: int) -> NoReturn:
    """Map this user and `NOBODY` into another process's user namespace, if that is allowed."""
    try:
        if user_id == 0:
            for name, own in (("uid_map", user_id), ("gid_map", group_id)):
                path = f"{process}/{name}"
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
                os.write(descriptor, f"{own} {own} 1\n{NOBODY} {NOBODY} 1\n".encode("ascii"))
            os.write(answer, b"y")
    finally:
        os._exit(0)


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
        stream.write(text.encode())


def limit_nested_namespaces(most: int) -> None:
    """Let nobody below this user namespace make more; needs this pid namespace's /proc."""
    # Bytes: what a codec needs may lie in the host's tree, which is gone by now.
    Path("/proc/sys/user/max_user_namespaces").write_bytes(b"%d" % most)


def forbid_core_dumps(*, proc: int | None = None) -> None:
    """Keep this process's memory, and its children's, out of core files and core handlers."""
    write_own_file("coredump_filter", "0", proc=proc)
    resource.setrlimit(resource.RLIMIT_CORE, (CORE_LIMIT, CORE_LIMIT))


def drop_privileges(*, cells: bool = False) -> None:
    """Give up capabilities, gains by exec and the calls that `seccomp` lists.

    Args:
        cells: Whether what comes next may make cells. As root, it then keeps what it takes to map
            root and the second user into another user namespace, and nothing that reaches further.

    Raises:
        OSError: A layer could not be put up; the caller must not go on.
    """
    syscalls.drop_all_capabilities(but=_FOR_MAPPING if cells and os.geteuid() == 0 else ())
    syscalls.forbid_new_privileges()
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(38, f"no system call filter for {machine} processors")
    syscalls.load_filter(filter_program(machine, cells=cells))


def reset_signals() -> None:
    """Give every signal its default action and unblock all, as a fresh program expects."""
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
