"""Records and snapshots of the state, and the keys and the chain that hold them together. Pure.

Invariants:
    1. Record n is sealed under a key of its own that depends on the head after record n-1, so it
       opens only in its place; the head after it is the SHA-256 of what was sealed.
    2. A snapshot opens only for the sequence and head that it names, and stands for every record
       up to there.

Spec: keyservice-state-v1, clauses KS-10 to KS-24 and KS-71.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from cloister.crypto.aead import KEY_BYTES, AEADKey
from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.crypto.kdf import derive_key
from cloister.errors import MalformedError, TamperedError, UnavailableError
from cloister.wire import Fields, Value, encode

__all__ = [
    "FIRST_HEAD",
    "MAX_RECORD_BYTES",
    "MAX_SNAPSHOT_BYTES",
    "Change",
    "Head",
    "Record",
    "Snapshot",
    "StateKey",
]

MAX_RECORD_BYTES: Final = 1 << 22
MAX_SNAPSHOT_BYTES: Final = 1 << 30
RECORD_LABEL: Final = b"cloister/keyservice-state/v1/record"
SNAPSHOT_LABEL: Final = b"cloister/keyservice-state/v1/snapshot"
ENTRY_LABEL: Final = b"cloister/keyservice-state/v1/entry"
NAME_LABEL: Final = b"cloister/keyservice-state/v1/name"
_VERSION: Final = 1
_MAX_CHANGES: Final = 4096
_MAX_ENTRIES: Final = 1024
_MOST: Final = (MAX_RECORD_BYTES, _MAX_CHANGES, _MAX_ENTRIES)
_MAX_PEAKS: Final = 64
_MAX_ROWS: Final = 1 << 24
_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number, and the SHA-256 of its sealed bytes."""

    sequence: int
    digest: bytes


FIRST_HEAD: Final = Head(0, bytes(DIGEST_BYTES))


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """One row of one table: its new value, or None where it is taken away."""

    table: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """One transaction: what changes in the tables, and what the log gains."""

    changes: tuple[Change, ...]
    entries: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: secret until sealed."""
        changes: list[Value] = [[c.table, c.key, c.value] for c in self.changes]
        return encode({"version": _VERSION, "changes": changes, "entries": list(self.entries)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """Read what was sealed."""
        fields = Fields.decode(data, what="state record", max_bytes=MAX_RECORD_BYTES)
        fields.constant("version", _VERSION)
        changes = tuple(
            _read_change(item) for item in fields.array("changes", max_items=_MAX_CHANGES)
        )
        entries = _read_octets(fields.array("entries", max_items=_MAX_ENTRIES))
        fields.end()
        return cls(changes, tuple(entries))


@dataclass(frozen=True, slots=True, repr=False)
class Snapshot:
    """All tables, and the log's size and peaks, as they are after one record."""

    log_size: int
    peaks: tuple[bytes, ...]
    tables: Mapping[str, Mapping[bytes, bytes]]

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: secret until sealed."""
        tables: dict[str, Value] = {
            name: [[key, value] for key, value in rows.items()]
            for name, rows in self.tables.items()
        }
        return encode(
            {
                "version": _VERSION,
                "log_size": self.log_size,
                "peaks": list(self.peaks),
                "tables": tables,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """Read what was sealed."""
        fields = Fields.decode(data, what="state snapshot", max_bytes=MAX_SNAPSHOT_BYTES)
        fields.constant("version", _VERSION)
        log_size = fields.integer("log_size")
        peaks = tuple(_read_octets(fields.array("peaks", max_items=_MAX_PEAKS)))
        found = fields.submap("tables")
        fields.end()
        tables = {
            name: dict(_read_row(row) for row in found.array(name, max_items=_MAX_ROWS))
            for name in found.keys()  # noqa: SIM118  # a method of Fields, no mapping
        }
        return cls(log_size, peaks, tables)


class StateKey:
    """The one secret of a service's state; every key that seals a part of it derives from it."""

    __slots__ = ("_entries", "_secret")

    def __init__(self, secret: bytes) -> None:
        """Take 32 secret bytes."""
        if len(secret) != KEY_BYTES:
            raise MalformedError("a state key has 32 bytes", code="message.malformed")
        self._secret = secret
        self._entries = AEADKey(derive_key(secret, label=ENTRY_LABEL, salt=b""))

    def to_secret(self) -> bytes:
        """Return the bytes, to be sealed at once."""
        return self._secret

    @property
    def name(self) -> bytes:
        """What it is called where everybody reads; tells nothing about it."""
        return derive_key(self._secret, label=NAME_LABEL, salt=b"")

    def seal_record(self, record: Record, *, after: Head) -> tuple[Head, bytes]:
        """Return the new head and the sealed bytes of the record that follows `after`.

        Raises:
            UnavailableError: No reader takes a record of this size (`keyservice.busy`); it must not
                become durable.
        """
        plain = record.to_bytes()
        counts = (len(plain), len(record.changes), len(record.entries))
        if any(n > most for n, most in zip(counts, _MOST, strict=True)):
            raise UnavailableError(
                "too much would change at once",
                code="keyservice.busy",
                detail=f"bytes, changes, entries: {counts}",
                hint="ask again, with less at a time",
            )
        sealed = self._key(RECORD_LABEL, after).seal_random(plain, b"")
        return Head(after.sequence + 1, sha256(sealed)), sealed

    def open_record(self, sealed: bytes, *, after: Head) -> tuple[Head, Record]:
        """Open the record that follows `after`.

        Raises:
            TamperedError: It is another one, or was changed (`state.tampered`).
        """
        error = _tampered(f"record {after.sequence + 1} does not open in its place")
        plain = self._key(RECORD_LABEL, after).open_random(sealed, b"", error=error)
        return Head(after.sequence + 1, sha256(sealed)), _read(Record.from_bytes, plain)

    def seal_snapshot(self, snapshot: Snapshot, *, head: Head) -> bytes:
        """Seal what the state is after `head`; the head travels in front, in plain."""
        sealed = self._key(SNAPSHOT_LABEL, head).seal_random(snapshot.to_bytes(), b"")
        return head.digest + sealed

    def open_snapshot(self, sealed: bytes, *, sequence: int) -> tuple[Head, Snapshot]:
        """Open a snapshot of the state after record `sequence`.

        Raises:
            TamperedError: It is of another state, or was changed (`state.tampered`).
        """
        head = Head(sequence, sealed[:DIGEST_BYTES])
        error = _tampered(f"the snapshot of record {sequence} does not open")
        plain = self._key(SNAPSHOT_LABEL, head).open_random(sealed[DIGEST_BYTES:], b"", error=error)
        return head, _read(Snapshot.from_bytes, plain)

    def seal_entry(self, entry: bytes, *, position: int) -> bytes:
        """Seal a log entry for its row: nothing readable lies in the store."""
        return self._entries.seal_random(entry, position.to_bytes(8, "big"))

    def open_entry(self, sealed: bytes, *, position: int) -> bytes:
        """Open a log entry.

        Raises:
            TamperedError: It is another one, or was changed (`state.tampered`).
        """
        error = _tampered(f"log entry {position} does not open")
        return self._entries.open_random(sealed, position.to_bytes(8, "big"), error=error)

    def _key(self, label: bytes, head: Head) -> AEADKey:
        salt = framed(head.sequence.to_bytes(8, "big"), head.digest)
        return AEADKey(derive_key(self._secret, label=label, salt=salt))


def _tampered(detail: str) -> TamperedError:
    return TamperedError(
        "the key service's state was changed, or belongs to another service",
        code="state.tampered",
        detail=detail,
    )


def _read(reader: Callable[[bytes], _Part], plain: bytes) -> _Part:
    """Authentic yet unreadable means written by another version, or by a fault of ours."""
    try:
        return reader(plain)
    except MalformedError as e:
        raise _tampered(f"unreadable: {e.public}") from e


def _read_change(item: Value) -> Change:
    match item:
        case [str(table), bytes(key), bytes() | None as value]:
            return Change(table, key, value)
        case _:
            raise MalformedError("not a change of the state", code="message.malformed")


def _read_row(item: Value) -> tuple[bytes, bytes]:
    match item:
        case [bytes(key), bytes(value)]:
            return key, value
        case _:
            raise MalformedError("not a row of the state", code="message.malformed")


def _read_octets(items: Sequence[Value]) -> list[bytes]:
    found = [item for item in items if isinstance(item, bytes)]
    if len(found) != len(items):
        raise MalformedError("not byte strings", code="message.malformed")
    return found
