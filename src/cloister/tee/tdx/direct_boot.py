"""RTMR2 of a TD whose monitor passes the kernel itself, computed from what it passes. Pure.

Linux's EFI stub (6.9 and later; `drivers/firmware/efi/libstub/efi-stub-helper.c`) measures two
things into PCR 9, which is RTMR2: the load options that the firmware gives it, as UTF-16 with
their end, and then the initial disk. Where a boot loader runs in between, as in images of a disk,
it measures more, and nothing here applies.

RTMR0 (the monitor's tables, the firmware's variables) and RTMR1 (the kernel with the fields that
the monitor wrote into its header) depend on more than an image, and are not computed.

Spec: tdx-launch-v1, clauses TDL-20 to TDL-23.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cloister.errors import MalformedError

__all__ = ["MAX_COMMAND_LINE", "boot_register", "load_options"]

MAX_COMMAND_LINE: Final = 4096
_INITRD: Final = " initrd=initrd"
_REGISTER_BYTES: Final = 48


def load_options(command_line: str, *, initrd: bool) -> bytes:
    """Return what EDK II hands to a kernel that QEMU passed, for a command line of QEMU's.

    Args:
        command_line: What follows `-append`: printable ASCII.
        initrd: Whether there is an `-initrd`: EDK II then appends ` initrd=initrd`.

    Raises:
        MalformedError: Another character, or too many (`firmware.malformed`).
    """
    if len(command_line) > MAX_COMMAND_LINE or not (
        command_line.isascii() and (command_line.isprintable() or not command_line)
    ):
        raise MalformedError(
            f"a command line is printable ASCII of at most {MAX_COMMAND_LINE} characters",
            code="firmware.malformed",
        )
    text = command_line + (_INITRD if initrd else "")
    return (text + "\0").encode("utf-16-le") if text else b""


def boot_register(options: bytes, initrd: bytes | None) -> bytes:
    """Return the 48 bytes of RTMR2 after the kernel's EFI stub ran, and nothing else before it.

    Args:
        options: The load options, as `load_options` gives them; empty measures nothing.
        initrd: SHA-384 of the initial disk's file; None where there is none.

    Raises:
        MalformedError: The digest has not 48 bytes (`firmware.malformed`).
    """
    if initrd is not None and len(initrd) != _REGISTER_BYTES:
        raise MalformedError("a digest of SHA-384 has 48 bytes", code="firmware.malformed")
    register = bytes(_REGISTER_BYTES)
    for digest in (hashlib.sha384(options).digest() if options else None, initrd):
        if digest is not None:
            register = hashlib.sha384(register + digest).digest()
    return register
