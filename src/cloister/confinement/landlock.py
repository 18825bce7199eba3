"""Landlock: what of the file tree, the network and other processes a process may still touch.

A second line behind namespaces and mounts that holds without them: it is tied to the process,
cannot be undone, and asks no privilege. What the running kernel's version does not know is named by
`lacking`, and whoever applies a ruleset decides whether that may be missing.

Spec: confinement-cell.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.confinement import syscalls

__all__ = ["LANDLOCK_LAYERS", "Grant", "apply_ruleset", "lacking", "ruleset_attributes", "version"]

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_MAKE_SYM: Final = 1 << 12
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_ALL_OF_VERSION: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_BIND_AND_CONNECT_TCP: Final = 0x3
_SCOPE_SOCKETS_AND_SIGNALS: Final = 0x3

LANDLOCK_LAYERS: Final[dict[str, int]] = {
    "landlock": 1,
    "landlock-truncate": 3,
    "landlock-network": 4,
    "landlock-devices": 5,
    "landlock-scopes": 6,
}
"""What may be missing, and the version of Landlock's interface that brought it."""

_READ: Final = _READ_FILE | _READ_DIR
_FILE_RIGHTS: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE
_WRITE: Final = (
    _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER
    | _TRUNCATE
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grant:
    """A file or folder that may be read, and written where `writable`; never executed."""

    path: str
    writable: bool = False


def version() -> int:
    """Return the version of the interface; 0 where the kernel has none, or has it switched off."""
    try:
        return syscalls.landlock_abi()
    except OSError as e:
        if e.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise


def lacking(abi: int) -> tuple[str, ...]:
    """Return the names of `LANDLOCK_LAYERS` that a version does not have."""
    return tuple(name for name, since in LANDLOCK_LAYERS.items() if abi < since)


def ruleset_attributes(abi: int) -> bytes:
    """Return the kernel's description of a ruleset that forbids everything the version knows."""
    handled = _ALL_OF_VERSION[min(abi, max(_ALL_OF_VERSION))]
    attributes = struct.pack("=Q", handled)
    if abi >= LANDLOCK_LAYERS["landlock-network"]:
        attributes += struct.pack("=Q", _BIND_AND_CONNECT_TCP)
    if abi >= LANDLOCK_LAYERS["landlock-scopes"]:
        attributes += struct.pack("=Q", _SCOPE_SOCKETS_AND_SIGNALS)
    return attributes


def apply_ruleset(grants: Sequence[Grant], abi: int) -> None:
    """Forbid this thread, and what it starts, everything but `grants`, for good.

    The caller has called `forbid_new_privileges`, and has one thread.

    Raises:
        OSError: A path is not there, or the kernel refuses.
    """
    handled = _ALL_OF_VERSION[min(abi, max(_ALL_OF_VERSION))]
    ruleset = syscalls.landlock_create_ruleset(ruleset_attributes(abi))
    try:
        for grant in grants:
            place = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
            try:
                rights = _READ | (_WRITE if grant.writable else 0)
                if not Path(grant.path).is_dir():
                    rights &= _FILE_RIGHTS
                syscalls.landlock_add_path(ruleset, place, rights & handled)
            finally:
                os.close(place)
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
