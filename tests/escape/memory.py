"""Attempts to have more memory than agreed, to share some, or to learn from it about others."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from pathlib import Path
from typing import Final

from escape.table import Nothing, Place, call, libc, probe

_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_PRIVATE_ANONYMOUS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
libc.mmap.restype = ctypes.c_void_p
libc.mremap.restype = ctypes.c_void_p
libc.sbrk.restype = ctypes.c_void_p
libc.shmat.restype = ctypes.c_void_p


def _map(size: int, protection: int, flags: int) -> int:
    found = libc.mmap(
        ctypes.c_void_p(0), ctypes.c_size_t(size), protection, flags, -1, ctypes.c_long(0)
    )
    if found == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    return int(found or 0)


@probe("memory.bomb", "Allocate more than agreed", "ENOMEM")
def _bomb(place: Place) -> object:
    return len(bytearray(place.memory_bytes))


@probe("memory.many-pieces", "Allocate it in pieces", "ENOMEM")
def _many_pieces(place: Place) -> object:
    held = [bytearray(8 << 20) for _ in range(place.memory_bytes // (8 << 20) + 1)]
    return len(held)


@probe("memory.map", "Map it", "ENOMEM")
def _map_it(place: Place) -> object:
    return _map(place.memory_bytes, 3, _PRIVATE_ANONYMOUS | 0x4000)  # MAP_NORESERVE


@probe("memory.map-then-write", "Map it to be read, and then make it writable", "ENOMEM")
def _map_then_write(place: Place) -> object:
    piece, held = 64 << 20, []
    try:
        pieces = range(place.memory_bytes // piece)
        held.extend(_map(piece, 1, _PRIVATE_ANONYMOUS) for _ in pieces)
        for address in held:
            if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(piece), 3) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
    finally:
        for address in held:
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(piece))
    return "writable"


@probe("memory.write-then-read-only", "Write to memory, make it read-only, and take more", "ENOMEM")
def _write_then_read_only(place: Place) -> object:
    piece, held = 16 << 20, []
    try:
        for _piece in range(place.memory_bytes // piece):
            held.append(_map(piece, 3, _PRIVATE_ANONYMOUS))
            ctypes.memset(held[-1], 1, 1)
            if libc.mprotect(ctypes.c_void_p(held[-1]), ctypes.c_size_t(piece), 1) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
    finally:
        for address in held:
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(piece))
    return "held"


@probe("memory.grow", "Grow a mapping to it", "ENOMEM")
def _grow(place: Place) -> object:
    found = _map(4096, 3, _PRIVATE_ANONYMOUS)
    larger = libc.mremap(
        ctypes.c_void_p(found), ctypes.c_size_t(4096), ctypes.c_size_t(place.memory_bytes), 1
    )
    if larger == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "mremap")
    return larger


@probe("memory.heap", "Grow the heap to it", "ENOMEM")
def _heap(place: Place) -> object:
    if libc.sbrk(ctypes.c_long(place.memory_bytes)) == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "sbrk")
    return "grown"


@probe("memory.droppable", "Map it as memory that may be dropped", "ENOMEM", "EPERM", "EINVAL")
def _droppable(place: Place) -> object:
    return _map(place.memory_bytes, 3, 0x08 | mmap.MAP_ANONYMOUS)


@probe("memory.address-space", "Reserve address space without end", "ENOMEM")
def _address_space(_: Place) -> object:
    return _map(1 << 45, 0, _PRIVATE_ANONYMOUS | 0x4000)


@probe("memory.file-copy", "Map a large file for writing, for itself", "ENOMEM", "EFBIG")
def _file_copy(place: Place) -> object:
    path = Path(place.folder, "large")
    with path.open("w+b") as stream:
        stream.truncate(place.memory_bytes)
        return len(
            mmap.mmap(stream.fileno(), place.memory_bytes, mmap.MAP_PRIVATE, mmap.PROT_WRITE | 1)
        )


@probe("memory.stack", "Map memory that grows by itself", "ENOMEM")
def _stack(_: Place) -> object:
    return _map(4096, 3, _PRIVATE_ANONYMOUS | 0x100)


@probe("memory.stack-limit", "Have a stack without limit", "nothing")
def _stack_limit(_: Place) -> object:
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if 0 <= soft <= hard <= 64 << 20:
        raise Nothing(f"it ends at {hard}")
    return soft, hard


@probe("memory.huge", "Map huge pages, which no limit counts", "ENOMEM")
def _huge(_: Place) -> object:
    return _map(2 << 20, 0, _PRIVATE_ANONYMOUS | 0x40000 | 0x4000)


@probe("memory.shared", "Map memory that could be shared", "EPERM")
def _shared(_: Place) -> object:
    return _map(4096, 3, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


@probe("memory.shared-checked", "Map it by the newer flag", "EPERM", "EOPNOTSUPP")
def _shared_checked(_: Place) -> object:
    try:
        return _map(4096, 3, 3 | mmap.MAP_ANONYMOUS)
    except OSError as e:
        if e.errno == 22:  # no such flag without a file: the kernel looked
            return "asked"
        raise


@probe("memory.lock", "Keep a page from being swapped out", "EPERM")
def _lock(_: Place) -> object:
    return call("mlock", _map(4096, 3, _PRIVATE_ANONYMOUS), 4096)


@probe("memory.lock-all", "Keep all from it", "EPERM")
def _lock_all(_: Place) -> object:
    return call("mlockall", 2)


@probe("memory.lock-by-map", "Map a page that stays", "EPERM", "EAGAIN")
def _lock_by_map(_: Place) -> object:
    return _map(1 << 20, 3, _PRIVATE_ANONYMOUS | 0x2000)


@probe("memory.secret", "Have memory that the kernel cannot see", "EPERM")
def _secret(_: Place) -> object:
    return call("memfd_secret", 1 << 30, reached=("EINVAL",))


@probe("memory.page-zero", "Map the page at address 0", "EPERM")
def _page_zero(_: Place) -> object:
    return _map(4096, 3, _PRIVATE_ANONYMOUS | 0x10)  # MAP_FIXED


@probe("memory.sysv", "Make a SysV segment", "EPERM")
def _sysv(_: Place) -> object:
    made = call("shmget", 0, 4096, 0o1600)
    return libc.shmctl(made, 0, None)


@probe("memory.sysv-of-others", "Attach one that there is", "EPERM")
def _sysv_of_others(place: Place) -> object:
    found = libc.shmat(place.shm, None, 0x1000)
    if found == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), "shmat")
    return ctypes.string_at(found, len(place.canary))


@probe("memory.posix", "Make POSIX shared memory", "ENOENT")
def _posix(_: Place) -> object:
    path = f"/dev/shm/escape-{os.getpid()}"  # noqa: S108  # that is the attempt
    held = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    Path(path).unlink()
    return held


@probe("memory.semaphores", "Make a set of semaphores", "EPERM")
def _semaphores(_: Place) -> object:
    made = call("semget", 0, 1, 0o1600)
    return libc.semctl(made, 0, 0)


@probe("memory.messages", "Make a queue of messages", "EPERM")
def _messages(_: Place) -> object:
    made = call("msgget", 0, 0o1600)
    return libc.msgctl(made, 0, None)


@probe("memory.posix-messages", "Make a POSIX queue", "EPERM")
def _posix_messages(_: Place) -> object:
    name = f"escape-{os.getpid()}".encode()
    made = call("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None)
    call("mq_unlink", name)
    return made


for _name, _tried, _advice in (
    ("merge", "Have pages merged with equal ones of others (KSM), and see by time", 12),
    ("page-out", "Have a file's pages put out of memory, which others then notice", 21),
    ("cold", "Have them put out first", 20),
):

    def _advise(place: Place, advice: int = _advice) -> object:
        with Path(place.read_only[0]).open("rb") as stream:
            held = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, stream.fileno(), ctypes.c_long(0))
        if libc.madvise(ctypes.c_void_p(held), ctypes.c_size_t(4096), advice) != 0:
            raise OSError(ctypes.get_errno(), "madvise")
        return "advised"

    probe(f"memory.{_name}", _tried, "EINVAL")(_advise)


@probe("memory.fault-handler", "Handle its own page faults (userfaultfd)", "EPERM")
def _fault_handler(_: Place) -> object:
    return os.close(call("userfaultfd", 1))


@probe("memory.move-pages", "Move pages of the trusted process", "EPERM")
def _move_pages(place: Place) -> object:
    return call("move_pages", place.trusted, 0, None, None, None, 0)


@probe("memory.migrate", "Move all of them", "EPERM")
def _migrate(place: Place) -> object:
    return call("migrate_pages", place.trusted, 0, None, None, reached=("EINVAL",))


@probe("memory.node", "Choose where its memory lies", "ENOSYS")
def _node(_: Place) -> object:
    return call("mbind", 0, 0, 0, None, 0, 0)


@probe("memory.remap", "Map pages of a file in another order", "EPERM")
def _remap(_: Place) -> object:
    return call("remap_file_pages", 0, 0, 0, 0, 0, reached=("EINVAL",))


@probe("memory.key", "Have a key that protects pages", "EPERM")
def _key(_: Place) -> object:
    return call("pkey_alloc", 0, 0, reached=("ENOSPC", "EINVAL"))


@probe(
    "memory.machine", "Ask how busy the machine is, and how much of its memory is free", "ENOSYS"
)
def _machine(_: Place) -> object:
    return call("sysinfo", ctypes.create_string_buffer(256))
