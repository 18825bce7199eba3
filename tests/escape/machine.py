"""Attempts by machine code: other entries into the kernel, and instructions of the kernel's.

Compilers write code into memory and run it, in cells too. So nothing may depend on which
instructions a cell can run.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from typing import Final

from escape.table import NO_CONTROL, X86, Place, libc, probe

_KEPT: Final[list[object]] = []


def _run(code: bytes, *arguments: int) -> int:
    """Write code to a fresh page, and call it as a C function."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40  # MAP_32BIT: old entries reach it
    page = mmap.mmap(-1, 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 5) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    _KEPT.append(page)
    function = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * len(arguments))(address)
    return int(function(*arguments))


def _checked(result: int) -> int:
    if -4096 < result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _checked_old(result: int) -> int:
    """Take a result for what it is: 32 bits, with a sign."""
    return _checked(ctypes.c_int32(result).value)


def _entered(number: int, first: int, second: int, third: int) -> bytes:
    """Return: mov eax, number; mov edi, esi, edx, arguments; syscall; ret."""
    registers = b"\xbf" + _word(first) + b"\xbe" + _word(second) + b"\xba" + _word(third)
    return b"\xb8" + _word(number) + registers + b"\x0f\x05\xc3"


def _word(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


@probe("code.system-call", "Make a socket by an instruction of its own", "EPERM", machine=X86)
def _system_call(_: Place) -> object:
    return os.close(_checked(_run(_entered(41, 1, 1, 0))))


@probe("code.fork", "Be two by an instruction of its own", "EPERM", machine=X86)
def _fork(_: Place) -> object:
    found = _checked(_run(_entered(57, 0, 0, 0)))
    return os._exit(0) if found == 0 else os.waitpid(found, 0)


@probe("code.x32", "Make it by the x32 number", "ENOSYS", machine=X86, control=NO_CONTROL,
       why="few kernels have that table")  # fmt: skip
def _x32(_: Place) -> object:
    return _checked(_run(_entered(0x40000000 | 41, 1, 1, 0)))


@probe("code.old-entry", "Enter by the interrupt of 32-bit programs (int 0x80)",
       "ENOSYS", "SIGSEGV", machine=X86, alone=True)  # fmt: skip
def _old_entry(_: Place) -> object:
    # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
    return _checked_old(_run(b"\x53\xb8\x14\0\0\0\xcd\x80\x5b\xc3"))


@probe("code.old-socket", "Make a socket there", "ENOSYS", "SIGSEGV", machine=X86, alone=True)
def _old_socket(_: Place) -> object:
    # push rbx; mov eax, 359 (socket); mov ebx, 1; mov ecx, 1; xor edx, edx; int 0x80; pop rbx; ret
    code = b"\x53\xb8\x67\x01\0\0\xbb\x01\0\0\0\xb9\x01\0\0\0\x31\xd2\xcd\x80\x5b\xc3"
    return os.close(_checked_old(_run(code)))


@probe("code.old-mode", "Change to 32-bit code and enter from there", "ENOSYS", "SIGSEGV",
       machine=X86, alone=True)  # fmt: skip
def _old_mode(_: Place) -> object:
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x62, -1, ctypes.c_long(0))
    stack = _word(page + 0x800)
    start = (
        b"\x53\x48\x89\x24\x25" + stack  # push rbx; mov [stack], rsp
        + b"\xbc" + _word(page + 0xF00)  # mov esp, page + 0xf00
        + b"\x6a\x23\x68" + _word(page + 64) + b"\x48\xcb"  # push 0x23; push old; retfq
    )  # fmt: skip
    # getpid; jmp 0x33:back
    old = b"\xb8\x14\0\0\0\xcd\x80\xea" + _word(page + 128) + b"\x33\0"
    back = b"\x48\x8b\x24\x25" + stack + b"\x5b\xc3"  # mov rsp, [stack]; pop rbx; ret
    code = start.ljust(64, b"\x90") + old.ljust(64, b"\x90") + back
    ctypes.memmove(page, code, len(code))
    return _checked_old(int(ctypes.CFUNCTYPE(ctypes.c_long)(page)()))


_INSTRUCTIONS: Final = {
    "port-read": ("Read a port", b"\x66\xba\x80\x00\xec\xc3"),
    "port-write": ("Write to one", b"\x66\xba\x80\x00\xee\xc3"),
    "interrupts-off": ("Turn interrupts off", b"\xfa\xc3"),
    "halt": ("Stop the processor", b"\xf4\xc3"),
    "model-register": ("Read a register of the model", b"\xb9\x10\0\0\0\x0f\x32\xc3"),
    "counters": ("Read the processor's counters (rdpmc)", b"\x31\xc9\x0f\x33\xc3"),
    "control-register": ("Read a control register", b"\x0f\x20\xc0\xc3"),
    "caches": ("Empty all caches (wbinvd)", b"\x0f\x09\xc3"),
}
for _name, (_tried, _code) in _INSTRUCTIONS.items():
    probe(
        f"code.{_name}",
        _tried,
        "SIGSEGV",
        "SIGILL",
        machine=X86,
        alone=True,
        control=NO_CONTROL,
        why="the processor allows it to no program",
    )(lambda _, code=_code: _run(code))


@probe("code.segments", "Make a segment of its own (modify_ldt)", "EPERM", machine=X86)
def _segments(_: Place) -> object:
    return _checked(_run(_entered(154, 0, 0, 0)))


@probe("code.ports", "Be allowed to use ports (iopl)", "EPERM", machine=X86)
def _ports(_: Place) -> object:
    return _checked(_run(_entered(172, 3, 0, 0)))


@probe("code.port-range", "Be allowed to use some (ioperm)", "EPERM", machine=X86)
def _port_range(_: Place) -> object:
    return _checked(_run(_entered(173, 0x80, 1, 1)))


@probe(
    "code.base", "Set a segment's base that belongs to nobody (ARCH_SET_GS)", "EPERM", machine=X86
)
def _base(_: Place) -> object:
    return _checked(_run(_entered(158, 0x1001, 0, 0)))


@probe("code.fixed-page", "Make a call by the page at a fixed address (vsyscall)", "SIGSEGV",
       machine=X86, alone=True, control=NO_CONTROL, why="it leads nowhere anywhere")  # fmt: skip
def _fixed_page(_: Place) -> object:
    # A jump between its entries must not be taken for one of them: mov rax, page + 8; jmp rax
    return _run(b"\x48\xc7\xc0\x08\x00\x60\xff\xff\xe0")
