"""A network of the demonstration's own: a namespace with nothing in it but loopback."""

from __future__ import annotations

import os

from cloister.confinement import syscalls
from cloister.confinement.namespaces import map_own_identity
from cloister.errors import UnsupportedError

__all__ = ["enter_own_network"]


def enter_own_network(*, users: bool = True) -> None:
    """Move this process, which must have one thread, into a network namespace of its own.

    Args:
        users: Whether it moves into a user namespace too. Without, it does so only where it may not
            have a network otherwise: the machine's root keeps the users that cells are run as.

    Raises:
        UnsupportedError: The kernel or its settings forbid it (`machine.namespaces`).
    """
    user_id, group_id = os.getuid(), os.getgid()
    try:
        if not users and user_id == 0 and _enter_network_alone():
            return
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
        map_own_identity(user_id, group_id)
        syscalls.raise_loopback()
    except OSError as e:
        raise UnsupportedError(
            f"this machine does not let the demonstration have a network of its own: {e.strerror}",
            code="machine.namespaces",
            hint="cloister doctor says which setting forbids user namespaces",
        ) from e


def _enter_network_alone() -> bool:
    """Tell whether this worked; root of a container may not be allowed to."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
    except OSError:
        return False
    syscalls.raise_loopback()
    return True
