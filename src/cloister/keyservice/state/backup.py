"""A state in one file: ciphertext as a backend has it, and a digest that shows that it is whole.

No key is needed to make one, and none is in it. Whoever opens it judges it like any backend, which
may lie: the digest finds accidents, the journal's own keys find everything else.

Spec: keyservice-recovery-v1, clauses BR-1 to BR-4.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NoReturn

from cloister.crypto.digest import DIGEST_BYTES, sha256
from cloister.errors import ConfigError, LocalProtocolError, MalformedError, TamperedError
from cloister.keyservice.state.backend import Backend, LogRow, Rekeyed
from cloister.keyservice.state.record import FIRST_HEAD, MAX_SNAPSHOT_BYTES, Head
from cloister.wire import Value, decode, encode

__all__ = ["Backup", "head_of", "write_backup"]

MAGIC: Final = b"cloister/keyservice-backup/v1\n"
_LENGTH_BYTES: Final = 4
_MAX_ITEM: Final = MAX_SNAPSHOT_BYTES + 4096
_PAGE: Final = 256
_ORDER: Final = ("slot", "snapshot", "record", "log", "end")


def write_backup(
    backend: Backend, file: IO[bytes], *, progress: Callable[[int, int], None]
) -> None:
    """Write what a backend holds at one moment.

    Args:
        backend: All reads show one moment: the caller has seen to that.
        file: Empty.
        progress: Called with the rows of the log that are written, and how many there are.
    """
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    def item(*parts: Value) -> None:
        data = encode(list(parts))
        put(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    put(MAGIC)
    for name, value in backend.slots():
        item("slot", name, value)
    snapshot = backend.snapshot()
    if snapshot is not None:
        item("snapshot", *snapshot)
    for sequence, sealed in backend.records(0):
        item("record", sequence, sealed)
    first, total = 0, backend.log_size()
    while rows := list(backend.log(first, _PAGE)):
        for row in rows:
            item("log", row.position, row.sealed, row.leaf)
        first = rows[-1].position + 1
        progress(first, total)
    item("end", digest.digest())


class Backup:
    """A backup as a backend that is only read: whole when it was opened, and still untrusted."""

    shared: Final = False

    def __init__(self, path: Path) -> None:
        """Read a file once, checking that nothing of it is missing, changed or added.

        Raises:
            ConfigError: There is no such file (`config.missing`).
            TamperedError: It is no backup, or not a whole one (`state.tampered`).
        """
        try:
            self._file = path.open("rb")
        except OSError as e:
            raise ConfigError(f"{path} cannot be read: {e.strerror}", code="config.missing") from e
        self._digest: bytes | None = None
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            for _ in self._items("end"):
                pass
        except BaseException:
            self._file.close()
            raise

    def slots(self) -> Iterator[tuple[str, bytes]]:
        """Return every slot."""
        for item in self._items("slot"):
            match item:
                case [str(name), bytes(value)]:
                    yield name, value
                case _:
                    raise _damaged("a slot")

    def slot(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        return dict(self.slots()).get(name)

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Return the records behind a number."""
        for sequence, sealed in self._numbered("record"):
            if sequence > after:
                yield sequence, sealed

    def snapshot(self) -> tuple[int, bytes] | None:
        """Return the snapshot."""
        return next(self._numbered("snapshot"), None)

    def log(self, first: int, count: int) -> Iterator[LogRow]:
        """Return rows of the log; reads all of it."""
        return (row for row in self.log_rows() if first <= row.position < first + count)

    def log_rows(self) -> Iterator[LogRow]:
        """Return every row of the log, in order."""
        for item in self._items("log"):
            match item:
                case [int(position), bytes(sealed), bytes(leaf)] if position >= 0:
                    yield LogRow(position, sealed, leaf)
                case _:
                    raise _damaged("a row of the log")

    def log_size(self) -> int:
        """Return the position behind the newest row."""
        return max((row.position + 1 for row in self.log_rows()), default=0)

    def leaves(self) -> Iterator[bytes]:
        """Return every leaf hash."""
        return (row.leaf for row in self.log_rows())

    def append(self, sequence: int, sealed: bytes, log: Iterable[LogRow]) -> NoReturn:
        """Refuse."""
        del sequence, sealed, log
        raise _not_written()

    def rekey(self, sequence: int, sealed: bytes, rows: Rekeyed) -> NoReturn:
        """Refuse."""
        del sequence, sealed, rows
        raise _not_written()

    def put_slot(self, name: str, value: bytes) -> NoReturn:
        """Refuse."""
        del name, value
        raise _not_written()

    def put_snapshot(self, sequence: int, sealed: bytes, *, keep: int) -> NoReturn:
        """Refuse."""
        del sequence, sealed, keep
        raise _not_written()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- inside

    def _numbered(self, kind: str) -> Iterator[tuple[int, bytes]]:
        for item in self._items(kind):
            match item:
                case [int(sequence), bytes(sealed)] if sequence > 0:
                    yield sequence, sealed
                case _:
                    raise _damaged(f"a {kind}")

    def _items(self, kind: str) -> Iterator[list[Value]]:
        """Return the items of one kind; every pass to the end checks that it is the same file."""
        offset, digest, stage = len(MAGIC), hashlib.sha256(MAGIC), 0
        if os.pread(self._file.fileno(), len(MAGIC), 0) != MAGIC:
            raise _damaged("the first line")
        while True:
            before = digest.digest()
            data = self._item(offset)
            offset += len(data)
            digest.update(data)
            name, rest = _parse(data[_LENGTH_BYTES:])
            if name not in _ORDER[stage:]:
                raise _damaged("the order of its parts")
            stage = _ORDER.index(name) + (name == "snapshot")  # of which there is one at most
            if name == "end":
                self._require_same(rest, before, offset)
            if name == kind:
                yield rest
            if name == "end":
                return

    def _require_same(self, rest: list[Value], digest: bytes, size: int) -> None:
        """Raise unless a pass ended as it must, and over the bytes that the first one read."""
        self._digest = digest if self._digest is None else self._digest
        if rest != [digest] or digest != self._digest or size != self._size:
            raise _damaged("its end")

    def _item(self, offset: int) -> bytes:
        fd = self._file.fileno()
        prefix = os.pread(fd, _LENGTH_BYTES, offset)
        length = int.from_bytes(prefix, "big")
        if len(prefix) != _LENGTH_BYTES or length > min(_MAX_ITEM, self._size - offset):
            raise _damaged("it is cut off")
        data = os.pread(fd, length, offset + _LENGTH_BYTES)
        if len(data) != length:
            raise _damaged("it is cut off")
        return prefix + data


def _parse(data: bytes) -> tuple[str, list[Value]]:
    try:
        match decode(data, max_bytes=_MAX_ITEM):
            case [str(name), *rest]:
                return name, rest
    except MalformedError as e:
        raise _damaged(e.public) from e
    raise _damaged("a part")


def head_of(backup: Backup) -> Head:
    """Return the newest head that a backup shows without a key; whoever has the key checks it."""
    head = FIRST_HEAD
    snapshot = backup.snapshot()
    if snapshot is not None:
        head = Head(snapshot[0], snapshot[1][:DIGEST_BYTES])
    for sequence, sealed in backup.records(head.sequence):
        head = Head(sequence, sha256(sealed))
    return head


def _damaged(what: str) -> TamperedError:
    return TamperedError(
        "this is no whole backup of a key service's state",
        code="state.tampered",
        detail=what,
        hint="use another copy of the backup",
    )


def _not_written() -> LocalProtocolError:
    return LocalProtocolError("a backup is not written to", code="protocol.local")
