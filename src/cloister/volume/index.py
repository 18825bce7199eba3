"""The whole tree in memory: inodes, names, sessions; what changed since the last commit; its bytes.

Invariants:
    1. Link counts and parents are never stored: they follow from the names.
    2. What changed is remembered until `committed`, so that a commit that failed can be repeated.
    3. After `check`, every inode can be reached from the root by exactly one path of directories.

The items below are the plaintext of index entries: authentic when they arrive here, and still
parsed strictly, because whoever holds the key may be another party.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import (
    DIRECT_POINTERS,
    INLINE_BYTES,
    MAX_FILE_BYTES,
    MAX_HEIGHT,
    MAX_INODES,
    MAX_NAME_BYTES,
    MAX_TARGET_BYTES,
    POINTER_BYTES,
    malformed,
)
from cloister.volume.sessions import Session, Sessions

__all__ = ["NO_OBJECT", "OBJECT_ID_BYTES", "Index", "Inode"]

OBJECT_ID_BYTES: Final = 16
NO_OBJECT: Final = bytes(OBJECT_ID_BYTES)
_DIGEST_BYTES: Final = 32

_SESSION: Final = struct.Struct(">I32s")
_LATER_SESSION: Final = struct.Struct(">II32s")
_SESSIONS_GONE: Final = struct.Struct(">I")
_INODE: Final = struct.Struct(">QIIIQqqqBB")
_NUMBER: Final = struct.Struct(">Q")
_NAME: Final = struct.Struct(">QQB")
_NAME_GONE: Final = struct.Struct(">QB")
_LENGTH: Final = struct.Struct(">H")
_OBJECT: Final = struct.Struct(">16sBB")
_TAG_SESSION, _TAG_INODE, _TAG_INODE_GONE, _TAG_NAME, _TAG_NAME_GONE = range(1, 6)
_TAG_LATER_SESSION, _TAG_SESSIONS_GONE = 6, 7
_EMPTY, _INLINE, _PACKED, _OWN = range(4)
_HAS_DIGEST: Final = 1
_AUTHENTICATED: Final = 2
_ALL_FLAGS: Final = _HAS_DIGEST | _AUTHENTICATED
_TYPES: Final = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})


@dataclass(slots=True)
class Inode:
    """One file, directory or symbolic link.

    Content is one of: nothing; `inline` bytes (a link's target too); one pointer into the pack
    (`object_id` zero); pointers into a backing file of its own. `digest` is SHA-256 of the
    content in sealed volumes, else empty. `authenticated` files have readable blocks; that is
    decided when one is made, and stays.
    """

    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    atime_ns: int = 0
    inline: bytes = b""
    object_id: bytes = NO_OBJECT
    height: int = 0
    pointers: bytes = b""
    digest: bytes = b""
    authenticated: bool = False
    nlink: int = 0
    parent: int = 0
    stored: bool = False
    entries: dict[bytes, int] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.mode)


class Index:
    """Inodes by number, with the names inside the directories' inodes."""

    def __init__(self) -> None:
        """Begin empty, without even a root; `make_root` or `apply` adds it."""
        self.inodes: dict[int, Inode] = {}
        self.sessions = Sessions()
        self._next_ino = ROOT_INO
        self._changed: set[int] = set()
        self._names: dict[tuple[int, bytes], bool] = {}
        self._gone: set[int] = set()
        self._stored_sessions = 0
        self._stored_first = 0

    # Changing the tree

    def make_root(self, *, mode: int, at_ns: int) -> None:
        """Add the root directory of a new volume."""
        root = self.add(stat.S_IFDIR | stat.S_IMODE(mode), at_ns=at_ns)
        root.parent = root.ino

    def add(self, mode: int, *, at_ns: int) -> Inode:
        """Make an inode that has no name yet."""
        if len(self.inodes) >= MAX_INODES:
            raise OSError(28, "the volume has no inode left")
        inode = Inode(self._next_ino, mode, mtime_ns=at_ns, ctime_ns=at_ns, atime_ns=at_ns)
        inode.nlink = 2 if inode.ino == ROOT_INO else int(inode.is_directory)
        self._next_ino += 1
        self.inodes[inode.ino] = inode
        self._changed.add(inode.ino)
        return inode

    def touch(self, inode: Inode) -> None:
        """Say that an inode's own fields changed."""
        if inode.ino in self.inodes:
            self._changed.add(inode.ino)

    def put_name(self, directory: Inode, name: bytes, inode: Inode) -> None:
        """Add a name that the directory does not have."""
        self._names.setdefault((directory.ino, name), False)
        _add_name(directory, name, inode)

    def drop_name(self, directory: Inode, name: bytes) -> Inode:
        """Remove a name and return the inode that had it."""
        self._names.setdefault((directory.ino, name), True)
        return self._remove_name(directory, name)

    def drop_inode(self, inode: Inode) -> None:
        """Forget an inode that has no name left."""
        del self.inodes[inode.ino]
        self._changed.discard(inode.ino)
        if inode.stored:
            self._gone.add(inode.ino)

    def drop_sessions(self, end: int) -> None:
        """Forget the sessions below `end`, which no pointer of any file or table names."""
        self.sessions.drop_before(end)

    @property
    def dirty(self) -> bool:
        """Whether anything differs from the last commit."""
        dropped = self._stored_first != self.sessions.first
        return bool(self._changed or self._names or self._gone or dropped)

    def oldest_key(self, key_epoch: int) -> int:
        """Return the lowest key epoch in use, where the index itself is sealed under this one."""
        oldest = self.sessions.oldest_key
        return key_epoch if oldest is None else min(oldest, key_epoch)

    # To bytes

    def full(self) -> bytes:
        """Return the items of the whole index."""
        out = bytearray()
        if self.sessions.first:
            out += _sessions_gone_item(self.sessions)
        for number in range(self.sessions.first, self.sessions.end):
            out += _session_item(self.sessions, number)
        for inode in self.inodes.values():
            out += _inode_item(inode)
        for inode in self.inodes.values():
            for name, ino in inode.entries.items():
                out += bytes([_TAG_NAME]) + _NAME.pack(inode.ino, ino, len(name)) + name
        return bytes(out)

    def delta(self) -> bytes:
        """Return the items that turn the last committed index into this one."""
        return b"".join(self._delta_items())

    def _delta_items(self) -> Iterator[bytes]:
        for number in range(self._stored_sessions, self.sessions.end):
            yield _session_item(self.sessions, number)
        if self._stored_first != self.sessions.first:
            yield _sessions_gone_item(self.sessions)
        for ino in sorted(self._changed):
            yield _inode_item(self.inodes[ino])
        puts: list[bytes] = []
        for (parent, name), was_there in self._names.items():
            directory = self.inodes.get(parent)
            named = directory.entries.get(name) if directory is not None else None
            if was_there:
                yield bytes([_TAG_NAME_GONE]) + _NAME_GONE.pack(parent, len(name)) + name
            if named is not None:
                puts.append(bytes([_TAG_NAME]) + _NAME.pack(parent, named, len(name)) + name)
        yield from puts
        for ino in sorted(self._gone):
            yield bytes([_TAG_INODE_GONE]) + _NUMBER.pack(ino)

    def committed(self) -> None:
        """Note that all changes so far are in the journal."""
        for ino in self._changed:
            self.inodes[ino].stored = True
        self._changed.clear()
        self._names.clear()
        self._gone.clear()
        self._note_sessions()

    # From bytes

    def apply(self, items: bytes, *, key_epoch: int) -> None:
        """Apply the items of one authentic entry, sealed under the volume key of this epoch.

        Raises:
            MalformedError: Not the items of an index; the index must not be used any more.
        """
        readers: dict[int, Callable[[bytes, int], int]] = {
            _TAG_SESSION: self._read_session,
            _TAG_LATER_SESSION: partial(self._read_later_session, key_epoch),
            _TAG_SESSIONS_GONE: self._read_sessions_gone,
            _TAG_INODE: self._read_inode,
            _TAG_INODE_GONE: self._read_inode_gone,
            _TAG_NAME: self._read_name,
            _TAG_NAME_GONE: self._read_name_gone,
        }
        offset = 0
        try:
            while offset < len(items):
                offset = readers[items[offset]](items, offset + 1)
        except (struct.error, KeyError, IndexError) as e:
            raise malformed("index item does not parse", clause="VOL-30", offset=offset) from e
        self._note_sessions()

    def check(self) -> None:
        """Refuse an index that is not a tree rooted at inode 1.

        Raises:
            MalformedError: A directory is unreachable or in a cycle, or an inode has no name.
        """
        root = self.inodes.get(ROOT_INO)
        if root is None or not root.is_directory:
            raise malformed("index has no root directory", clause="VOL-36")
        waiting = [root]
        reached = 0
        while waiting:
            directory = waiting.pop()
            reached += 1
            for ino in directory.entries.values():
                inode = self.inodes[ino]
                if inode.is_directory:
                    waiting.append(inode)
        nameless = sum(1 for inode in self.inodes.values() if not inode.nlink)
        if nameless or reached != sum(1 for inode in self.inodes.values() if inode.is_directory):
            raise malformed("index is not one tree", clause="VOL-36")

    def _remove_name(self, directory: Inode, name: bytes) -> Inode:
        inode = self.inodes[directory.entries.pop(name)]
        inode.nlink -= 1
        if inode.is_directory:
            directory.nlink -= 1
            inode.parent = 0
        return inode

    def _note_sessions(self) -> None:
        self._stored_sessions, self._stored_first = self.sessions.end, self.sessions.first

    def _read_session(self, items: bytes, offset: int) -> int:
        number, salt = _SESSION.unpack_from(items, offset)
        self._add_session(number, Session(salt, FIRST_KEY_EPOCH), offset)
        return offset + _SESSION.size

    def _read_later_session(self, newest: int, items: bytes, offset: int) -> int:
        number, key_epoch, salt = _LATER_SESSION.unpack_from(items, offset)
        if not FIRST_KEY_EPOCH < key_epoch <= newest:
            raise malformed("a session has an impossible key", clause="VOL-72", offset=offset)
        self._add_session(number, Session(salt, key_epoch), offset)
        return offset + _LATER_SESSION.size

    def _add_session(self, number: int, session: Session, offset: int) -> None:
        if number != self.sessions.end:
            raise malformed("sessions are out of order", clause="VOL-31", offset=offset)
        self.sessions.add(session)

    def _read_sessions_gone(self, items: bytes, offset: int) -> int:
        (end,) = _SESSIONS_GONE.unpack_from(items, offset)
        self.sessions.drop_before(end)
        return offset + _SESSIONS_GONE.size

    def _read_inode(self, items: bytes, offset: int) -> int:
        inode, end = _parse_inode(items, offset)
        old = self.inodes.get(inode.ino)
        if old is not None:
            if stat.S_IFMT(old.mode) != stat.S_IFMT(inode.mode):
                raise malformed("an inode changes its type", clause="VOL-32", offset=offset)
            if old.authenticated != inode.authenticated:
                raise malformed("a file changes its class", clause="VOL-80", offset=offset)
            inode.nlink, inode.parent, inode.entries = old.nlink, old.parent, old.entries
        else:
            inode.nlink = 2 if inode.ino == ROOT_INO else int(inode.is_directory)
            inode.parent = ROOT_INO if inode.ino == ROOT_INO else 0
        if len(self.inodes) >= MAX_INODES:
            raise malformed("too many inodes", clause="VOL-32", offset=offset)
        self.inodes[inode.ino] = inode
        self._next_ino = max(self._next_ino, inode.ino + 1)
        return end

    def _read_inode_gone(self, items: bytes, offset: int) -> int:
        (ino,) = _NUMBER.unpack_from(items, offset)
        if self.inodes[ino].entries or ino == ROOT_INO:
            raise malformed("a directory in use is removed", clause="VOL-33", offset=offset)
        del self.inodes[ino]
        return offset + _NUMBER.size

    def _read_name(self, items: bytes, offset: int) -> int:
        parent, ino, length = _NAME.unpack_from(items, offset)
        name, end = _parse_name(items, offset + _NAME.size, length)
        directory, inode = self.inodes[parent], self.inodes[ino]
        taken = name in directory.entries or not directory.is_directory
        if taken or (inode.is_directory and inode.parent):
            raise malformed("a name cannot be added", clause="VOL-34", offset=offset)
        _add_name(directory, name, inode)
        return end

    def _read_name_gone(self, items: bytes, offset: int) -> int:
        parent, length = _NAME_GONE.unpack_from(items, offset)
        name, end = _parse_name(items, offset + _NAME_GONE.size, length)
        self._remove_name(self.inodes[parent], name)
        return end


def _session_item(sessions: Sessions, number: int) -> bytes:
    session = sessions.get(number)
    if session is None:
        raise LookupError("a session that is not there")
    if session.key_epoch == FIRST_KEY_EPOCH:
        return bytes([_TAG_SESSION]) + _SESSION.pack(number, session.salt)
    fields = _LATER_SESSION.pack(number, session.key_epoch, session.salt)
    return bytes([_TAG_LATER_SESSION]) + fields


def _sessions_gone_item(sessions: Sessions) -> bytes:
    return bytes([_TAG_SESSIONS_GONE]) + _SESSIONS_GONE.pack(sessions.first)


def _add_name(directory: Inode, name: bytes, inode: Inode) -> None:
    directory.entries[name] = inode.ino
    inode.nlink += 1
    if inode.is_directory:
        directory.nlink += 1
        inode.parent = directory.ino


def _inode_item(inode: Inode) -> bytes:
    if inode.object_id != NO_OBJECT:
        kind = _OWN
        count = len(inode.pointers) // POINTER_BYTES
        content = _OBJECT.pack(inode.object_id, inode.height, count) + inode.pointers
    elif inode.pointers:
        kind, content = _PACKED, inode.pointers
    elif inode.inline:
        kind, content = _INLINE, _LENGTH.pack(len(inode.inline)) + inode.inline
    else:
        kind, content = _EMPTY, b""
    fixed = _INODE.pack(
        inode.ino, inode.mode, inode.uid, inode.gid, inode.size, inode.mtime_ns, inode.ctime_ns,
        inode.atime_ns, kind,
        (_HAS_DIGEST if inode.digest else 0) | (_AUTHENTICATED if inode.authenticated else 0),
    )  # fmt: skip
    return bytes([_TAG_INODE]) + fixed + inode.digest + content


def _parse_inode(items: bytes, offset: int) -> tuple[Inode, int]:
    start = offset
    ino, mode, uid, gid, size, mtime, ctime, atime, kind, flags = _INODE.unpack_from(items, offset)
    offset += _INODE.size
    inode = Inode(ino, mode, uid, gid, size, mtime, ctime, atime, stored=True)
    if not ino or ino >= 2**63 or stat.S_IFMT(mode) not in _TYPES or mode >= 1 << 16:
        raise malformed("inode has an impossible number or mode", clause="VOL-32", offset=start)
    if size > MAX_FILE_BYTES or flags & ~_ALL_FLAGS or kind > _OWN:
        raise malformed("inode is outside its limits", clause="VOL-32", offset=start)
    inode.authenticated = bool(flags & _AUTHENTICATED)
    if inode.authenticated and (not stat.S_ISREG(mode) or kind == _INLINE):
        raise malformed("what cannot be authenticated is", clause="VOL-80", offset=start)
    if flags & _HAS_DIGEST:
        inode.digest = _take(items, offset, _DIGEST_BYTES)
        offset += _DIGEST_BYTES
    if kind == _INLINE:
        (length,) = _LENGTH.unpack_from(items, offset)
        inode.inline = _take(items, offset + _LENGTH.size, length)
        offset += _LENGTH.size + length
    elif kind == _PACKED:
        inode.pointers = _take(items, offset, POINTER_BYTES)
        offset += POINTER_BYTES
    elif kind == _OWN:
        inode.object_id, inode.height, count = _OBJECT.unpack_from(items, offset)
        inode.pointers = _take(items, offset + _OBJECT.size, count * POINTER_BYTES)
        offset += _OBJECT.size + count * POINTER_BYTES
        if count > DIRECT_POINTERS or inode.height > MAX_HEIGHT or inode.object_id == NO_OBJECT:
            raise malformed("inode has an impossible table", clause="VOL-32", offset=start)
    _check_content(inode, kind, offset=start)
    return inode, offset


def _check_content(inode: Inode, kind: int, *, offset: int) -> None:
    if inode.is_file:
        limit = INLINE_BYTES
        fits = kind in {_PACKED, _OWN} or inode.size == len(inode.inline)
    elif inode.is_directory:
        limit, fits = 0, kind == _EMPTY and not inode.size
    else:
        limit, fits = MAX_TARGET_BYTES, kind == _INLINE and inode.size == len(inode.inline)
    if not fits or len(inode.inline) > limit or (kind == _INLINE and not inode.inline):
        raise malformed("inode's content does not fit its type", clause="VOL-32", offset=offset)


def _parse_name(items: bytes, offset: int, length: int) -> tuple[bytes, int]:
    name = _take(items, offset, length)
    if not 0 < length <= MAX_NAME_BYTES or b"/" in name or b"\0" in name or name in {b".", b".."}:
        raise malformed("a name is not one", clause="VOL-34", offset=offset)
    return name, offset + length


def _take(items: bytes, offset: int, length: int) -> bytes:
    taken = items[offset : offset + length]
    if len(taken) != length:
        raise malformed("index item ends early", clause="VOL-30", offset=offset)
    return taken
