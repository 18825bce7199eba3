"""Stores for tests: in memory, with a quota and faults; and one that records for crash tests.

A recording is a list of what a volume asked of its host. `replay` builds the store that a crash
after any prefix of it may leave: writes that were not yet synced may be there, missing or torn.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloister.errors import (
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.volume.store import Buffer, Handle, Space

__all__ = ["Event", "EventKind", "MemoryStore", "replay"]


class EventKind(enum.Enum):
    """What was asked of the store."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    REMOVE = "remove"
    SYNC_DIRECTORY = "sync directory"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Event:
    """One request; `mark` is what a test noted between requests."""

    kind: EventKind
    path: str = ""
    offset: int = 0
    data: bytes = b""
    mark: object = None


@dataclass(slots=True)
class MemoryStore:
    """A store in memory.

    `quota` bounds the bytes of all files together; `before` is called with each event, before it
    takes effect, and may raise; `events` fills where `recording`.
    """

    files: dict[str, bytearray] = field(default_factory=dict)
    quota: int = 2**40
    recording: bool = False
    events: list[Event] = field(default_factory=list)
    before: Callable[[Event], None] | None = None
    locked: bool = False

    def open(self, path: str) -> Handle:
        """Open a file that must exist."""
        if path not in self.files:
            raise TamperedError(f"a file of the volume is missing: {path}", code="volume.truncated")
        return _MemoryHandle(self, path)

    def create(self, path: str) -> Handle:
        """Make or empty a file."""
        self.note(Event(EventKind.CREATE, path))
        self.files[path] = bytearray()
        return _MemoryHandle(self, path)

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        self.note(Event(EventKind.REMOVE, path))
        self.files.pop(path, None)

    def names(self, directory: str) -> list[str]:
        """List a directory."""
        prefix = f"{directory}/"
        inside = (path[len(prefix) :] for path in self.files if path.startswith(prefix))
        return sorted({path.partition("/")[0] for path in inside})

    def sync_directory(self, directory: str) -> None:
        """Note that creations and removals in it are durable."""
        self.note(Event(EventKind.SYNC_DIRECTORY, directory))

    def space(self) -> Space:
        """Report the quota."""
        return self.quota, max(0, self.quota - self.used())

    def lock(self, *, exclusive: bool) -> None:
        """Allow one user; readers are not told apart from writers here."""
        del exclusive
        if self.locked:
            raise UnavailableError("another process has the volume open", code="volume.busy")
        self.locked = True

    def close(self) -> None:
        """Release the lock."""
        self.locked = False

    def used(self) -> int:
        """Return the bytes of all files."""
        return sum(map(len, self.files.values()))

    def copy(self) -> MemoryStore:
        """Return another store with the same files, not locked."""
        return MemoryStore(files={path: bytearray(data) for path, data in self.files.items()})

    def mark(self, mark: object) -> None:
        """Note something of the test's own among the events."""
        self.events.append(Event(EventKind.MARK, mark=mark))

    def note(self, event: Event) -> None:
        """Record an event and let the test fail it."""
        if self.before is not None:
            self.before(event)
        if self.recording:
            self.events.append(event)


class _MemoryHandle:
    def __init__(self, store: MemoryStore, path: str) -> None:
        self._store = store
        self._path = path
        self._data = store.files[path]

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> None:
        for buffer in buffers:
            part = self._data[offset : offset + len(buffer)]
            if len(part) != len(buffer):
                raise TamperedError(
                    f"a file of the volume ends early: {self._path}", code="volume.truncated"
                )
            memoryview(buffer)[:] = part
            offset += len(buffer)

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        data = b"".join(buffers)
        end = offset + len(data)
        growth = max(0, end - len(self._data))
        room = self._store.quota - self._store.used()
        if growth > room:
            self._put(data[: max(0, len(data) - growth + room)], offset)
            raise StorageFullError("the quota is used up", code="storage.full")
        self._store.note(Event(EventKind.WRITE, self._path, offset, data))
        self._put(data, offset)

    def _put(self, data: bytes, offset: int) -> None:
        _write(self._data, offset, data)

    def size(self) -> int:
        return len(self._data)

    def truncate(self, size: int) -> None:
        self._store.note(Event(EventKind.TRUNCATE, self._path, size))
        _truncate(self._data, size)

    def sync(self) -> None:
        self._store.note(Event(EventKind.SYNC, self._path))

    def close(self) -> None:
        pass


def replay(
    start: MemoryStore,
    events: Sequence[Event],
    *,
    keeps: Callable[[int, Event], int],
) -> MemoryStore:
    """Build what a crash after `events` may leave.

    Args:
        start: The store before the first event, durable.
        events: A prefix of a recording.
        keeps: For each event that no sync made durable: how many bytes of a write survive (all
            that there are, fewer, or 0), or for other events 0 for "did not happen".
    """
    durable = _durable(events)
    store = start.copy()
    for number, event in enumerate(events):
        kept = len(event.data) if durable[number] else keeps(number, event)
        _happen(store, event, kept, certain=durable[number])
    return store


def _durable(events: Sequence[Event]) -> list[bool]:
    """Tell for each event whether a later sync in the same list covers it."""
    synced: set[str] = set()
    directories: set[str] = set()
    found = [False] * len(events)
    for number in range(len(events) - 1, -1, -1):
        event = events[number]
        if event.kind is EventKind.SYNC:
            synced.add(event.path)
        elif event.kind is EventKind.SYNC_DIRECTORY:
            directories.add(event.path)
        elif event.kind in {EventKind.CREATE, EventKind.REMOVE}:
            found[number] = event.path.rpartition("/")[0] in directories
        else:
            found[number] = event.path in synced
    return found


def _happen(store: MemoryStore, event: Event, kept: int, *, certain: bool) -> None:
    if event.kind is EventKind.WRITE:
        data = store.files.get(event.path)
        if data is not None and kept:
            _write(data, event.offset, event.data[:kept])
    elif event.kind is EventKind.CREATE:
        if certain or kept:
            store.files[event.path] = bytearray()
    elif event.kind is EventKind.REMOVE:
        if certain or kept:
            store.files.pop(event.path, None)
    elif event.kind is EventKind.TRUNCATE and (certain or kept):
        data = store.files.get(event.path)
        if data is not None:
            _truncate(data, event.offset)


def _write(data: bytearray, offset: int, new: bytes) -> None:
    if offset > len(data):
        data += bytes(offset - len(data))
    data[offset : offset + len(new)] = new


def _truncate(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data += bytes(size - len(data))
