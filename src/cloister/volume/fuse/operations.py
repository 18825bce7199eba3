"""What each FUSE operation does to a `Filesystem`; one small function for each, one table for all.

Each function writes its reply's body into `context.out` and returns the body's length; a failure
is an `OSError`, or a `CloisterError` of the file system. Permissions are the kernel's business
(the mount has `default_permissions`), and so are locks.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL, ENAMETOOLONG, ENOENT, ENOSYS, EOPNOTSUPP, EPERM
from typing import Any, Final

from cloister.volume.filesystem import Attributes, Filesystem, SetAttributes
from cloister.volume.fuse import protocol
from cloister.volume.fuse.directories import OpenDirectories
from cloister.volume.fuse.inodes import KnownInodes
from cloister.volume.fuse.protocol import NAME_MAX, Header, Opcode, SetattrRequest, Valid
from cloister.volume.fuse.replies import (
    DirectoryPage,
    Presentation,
    put_negative,
    put_open,
    put_space,
    put_written,
)

__all__ = ["NO_REPLY", "OPERATIONS", "Context", "Operation"]

NO_REPLY: Final = -1
_KEEP_CACHE: Final = 1 << 1
_NO_REPLACE: Final = 1
_EXCHANGE: Final = 2
_OFFSET_LIMIT: Final = 2**63 - 1
_PERMISSION_BITS: Final = 0o7777
_NO_CHANGE: Final = SetAttributes()


@dataclass(frozen=True, slots=True)
class Context:
    """What operations work on; `out` is where the reply's body goes."""

    filesystem: Filesystem
    known: KnownInodes
    directories: OpenDirectories
    shown: Presentation
    out: memoryview


@dataclass(frozen=True, slots=True)
class Operation:
    """How to read a request's body, and what to do with what it says."""

    parse: Callable[[memoryview], tuple[Any, ...]]
    act: Callable[..., int]


def _lookup(context: Context, header: Header, name: bytes) -> int:
    _check_name(name)
    try:
        attributes = context.filesystem.lookup(header.nodeid, name)
    except OSError as e:
        if e.errno != ENOENT:
            raise
        return put_negative(context.out, valid_s=context.shown.valid_s)
    return _entry(context, attributes)


def _forget(context: Context, header: Header, lookups: int) -> int:
    context.known.forget(header.nodeid, lookups)
    return NO_REPLY


def _batch_forget(context: Context, header: Header, items: list[tuple[int, int]]) -> int:
    del header
    for ino, lookups in items:
        context.known.forget(ino, lookups)
    return NO_REPLY


def _getattr(context: Context, header: Header, *_: int) -> int:
    attributes = context.filesystem.attributes(header.nodeid)
    return context.shown.put_attributes(context.out, attributes)


def _setattr(context: Context, header: Header, *request: int) -> int:
    wanted = SetattrRequest(*request)
    change = _change(wanted, context.shown.owner)
    if change == _NO_CHANGE:
        attributes = context.filesystem.attributes(header.nodeid)
    else:
        attributes = context.filesystem.set_attributes(header.nodeid, change)
    return context.shown.put_attributes(context.out, attributes)


def _change(wanted: SetattrRequest, owner: tuple[int, int] | None) -> SetAttributes:
    valid = wanted.valid
    uid = wanted.uid if valid & Valid.UID else None
    gid = wanted.gid if valid & Valid.GID else None
    if owner is not None:
        if uid not in (None, owner[0]) or gid not in (None, owner[1]):
            raise OSError(EPERM, "everything on this mount has one owner")
        uid = gid = None
    if valid & Valid.SIZE and wanted.size > _OFFSET_LIMIT:
        raise OSError(EINVAL, "size is negative")
    return SetAttributes(
        mode=wanted.mode & _PERMISSION_BITS if valid & Valid.MODE else None,
        size=wanted.size if valid & Valid.SIZE else None,
        uid=uid,
        gid=gid,
        mtime_ns=wanted.mtime_ns if valid & Valid.MTIME else None,
        atime_ns=wanted.atime_ns if valid & Valid.ATIME else None,
    )


def _readlink(context: Context, header: Header) -> int:
    target = context.filesystem.readlink(header.nodeid)
    context.out[: len(target)] = target
    return len(target)


def _symlink(context: Context, header: Header, name: bytes, target: bytes) -> int:
    _check_name(name)
    made = context.filesystem.symlink(header.nodeid, name, target, header.uid, header.gid)
    return _entry(context, made)


def _mknod(context: Context, header: Header, numbers: tuple[int, ...], name: bytes) -> int:
    return _entry(context, _make(context, header, numbers[0], name))


def _create(context: Context, header: Header, numbers: tuple[int, ...], name: bytes) -> int:
    size = _entry(context, _make(context, header, numbers[1], name))
    return size + put_open(context.out[size:], handle=0, flags=_KEEP_CACHE)


def _make(context: Context, header: Header, mode: int, name: bytes) -> Attributes:
    _check_name(name)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise OSError(EPERM, "a volume has files, directories and symbolic links only")
    permissions = stat.S_IFREG | (mode & _PERMISSION_BITS)
    return context.filesystem.create(header.nodeid, name, permissions, header.uid, header.gid)


def _mkdir(context: Context, header: Header, numbers: tuple[int, ...], name: bytes) -> int:
    _check_name(name)
    mode = stat.S_IFDIR | (numbers[0] & _PERMISSION_BITS)
    made = context.filesystem.mkdir(header.nodeid, name, mode, header.uid, header.gid)
    return _entry(context, made)


def _unlink(context: Context, header: Header, name: bytes) -> int:
    context.filesystem.unlink(header.nodeid, name)
    return 0


def _rmdir(context: Context, header: Header, name: bytes) -> int:
    context.filesystem.rmdir(header.nodeid, name)
    return 0


def _rename(
    context: Context, header: Header, numbers: tuple[int, ...], name: bytes, new_name: bytes
) -> int:
    """RENAME has the new parent only; RENAME2 also flags."""
    _check_name(new_name)
    new_parent, flags = numbers[0], numbers[1] if len(numbers) > 1 else 0
    if flags == _EXCHANGE:
        context.filesystem.exchange(header.nodeid, name, new_parent, new_name)
    elif flags in (0, _NO_REPLACE):
        context.filesystem.rename(
            header.nodeid, name, new_parent, new_name, no_replace=flags == _NO_REPLACE
        )
    else:
        raise OSError(EINVAL, "unknown rename flags")
    return 0


def _link(context: Context, header: Header, numbers: tuple[int, ...], name: bytes) -> int:
    _check_name(name)
    return _entry(context, context.filesystem.link(numbers[0], header.nodeid, name))


def _needless(context: Context, header: Header, *_: int) -> int:
    """OPEN and FLUSH: files are held while known, so nothing is due. The kernel asks once only."""
    del context, header
    raise OSError(ENOSYS, "nothing hangs on a file's being open")


def _read(context: Context, header: Header, *numbers: int) -> int:
    _, offset, size, _, _, _, _ = numbers
    if size > len(context.out) or offset > _OFFSET_LIMIT:
        raise OSError(EINVAL, "read is larger than agreed")
    return context.filesystem.read_into(header.nodeid, offset, context.out[:size])


def _write(context: Context, header: Header, offset: int, data: memoryview) -> int:
    if offset + len(data) > _OFFSET_LIMIT:
        raise OSError(EINVAL, "write ends beyond the largest offset")
    return put_written(context.out, context.filesystem.write(header.nodeid, offset, data))


def _statfs(context: Context, header: Header) -> int:
    del header
    return put_space(context.out, context.filesystem.space())


def _accept(context: Context, header: Header, *_: int) -> int:
    """RELEASE of what CREATE opened, until the kernel has learnt that OPEN is needless."""
    del context, header
    return 0


def _fsync(context: Context, header: Header, *_: int) -> int:
    context.filesystem.fsync(header.nodeid)
    return 0


def _opendir(context: Context, header: Header, *_: int) -> int:
    return put_open(context.out, handle=context.directories.open(header.nodeid), flags=0)


def _readdir(context: Context, header: Header, *numbers: int) -> int:
    del header
    page = DirectoryPage(context.out, limit=numbers[2])
    return context.directories.read(numbers[0], numbers[1], page)


def _readdirplus(context: Context, header: Header, *numbers: int) -> int:
    del header
    page = DirectoryPage(context.out, limit=numbers[2])
    return context.directories.read_plus(numbers[0], numbers[1], page)


def _releasedir(context: Context, header: Header, *numbers: int) -> int:
    del header
    context.directories.close(numbers[0])
    return 0


def _fallocate(context: Context, header: Header, *numbers: int) -> int:
    """Extend a file. Space is not reserved: a later write may still find the store full."""
    _, offset, length, mode, _ = numbers
    if mode != 0:
        raise OSError(EOPNOTSUPP, "only plain allocation is supported")
    if length == 0 or offset + length > _OFFSET_LIMIT:
        raise OSError(EINVAL, "range is empty or beyond the largest offset")
    if context.filesystem.attributes(header.nodeid).size < offset + length:
        context.filesystem.set_attributes(header.nodeid, SetAttributes(size=offset + length))
    return 0


def _entry(context: Context, attributes: Attributes) -> int:
    context.known.remember(attributes)
    return context.shown.put_entry(context.out, attributes)


def _check_name(name: bytes) -> None:
    if len(name) > NAME_MAX:
        raise OSError(ENAMETOOLONG, "name is too long")


def _one(parse: Callable[[memoryview], object]) -> Callable[[memoryview], tuple[Any, ...]]:
    return lambda body: (parse(body),)


_NAME: Final = _one(protocol.parse_name)
_SYNC: Final = protocol.fixed("QII")
_READ: Final = protocol.fixed("QQIIQII")
_RELEASE: Final = protocol.fixed("QIIQ")

# What is not here is answered ENOSYS. Left out on purpose: ACCESS (`default_permissions`), locks
# and LSEEK (the kernel's own answers are right, and it knows sizes that are not written back
# yet), extended attributes, IOCTL, COPY_FILE_RANGE (the kernel then copies), INTERRUPT.
OPERATIONS: Final[dict[int, Operation]] = {
    Opcode.LOOKUP: Operation(_NAME, _lookup),
    Opcode.FORGET: Operation(protocol.fixed("Q"), _forget),
    Opcode.BATCH_FORGET: Operation(_one(protocol.parse_batch_forget), _batch_forget),
    Opcode.GETATTR: Operation(protocol.fixed("IIQ"), _getattr),
    Opcode.SETATTR: Operation(protocol.parse_setattr, _setattr),
    Opcode.READLINK: Operation(protocol.nothing, _readlink),
    Opcode.SYMLINK: Operation(protocol.parse_symlink, _symlink),
    Opcode.MKNOD: Operation(protocol.fixed_and_name("IIII"), _mknod),
    Opcode.MKDIR: Operation(protocol.fixed_and_name("II"), _mkdir),
    Opcode.UNLINK: Operation(_NAME, _unlink),
    Opcode.RMDIR: Operation(_NAME, _rmdir),
    Opcode.RENAME: Operation(protocol.fixed_and_two_names("Q"), _rename),
    Opcode.RENAME2: Operation(protocol.fixed_and_two_names("QII"), _rename),
    Opcode.LINK: Operation(protocol.fixed_and_name("Q"), _link),
    Opcode.OPEN: Operation(protocol.fixed("II"), _needless),
    Opcode.CREATE: Operation(protocol.fixed_and_name("IIII"), _create),
    Opcode.READ: Operation(_READ, _read),
    Opcode.WRITE: Operation(protocol.parse_write, _write),
    Opcode.STATFS: Operation(protocol.nothing, _statfs),
    Opcode.RELEASE: Operation(_RELEASE, _accept),
    Opcode.FLUSH: Operation(_RELEASE, _needless),
    Opcode.FSYNC: Operation(_SYNC, _fsync),
    Opcode.FSYNCDIR: Operation(_SYNC, _fsync),
    Opcode.OPENDIR: Operation(protocol.fixed("II"), _opendir),
    Opcode.READDIR: Operation(_READ, _readdir),
    Opcode.READDIRPLUS: Operation(_READ, _readdirplus),
    Opcode.RELEASEDIR: Operation(_RELEASE, _releasedir),
    Opcode.FALLOCATE: Operation(protocol.fixed("QQQII"), _fallocate),
}
