"""The state in memory: tables of rows, and the changes of one open transaction over them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cloister.keyservice.state.record import Change

__all__ = ["Tables"]


class Tables:
    """Rows by table and key, in the order in which their keys first came."""

    def __init__(self, tables: Mapping[str, Mapping[bytes, bytes]] | None = None) -> None:
        """Start from a snapshot's tables, or empty."""
        self._tables: dict[str, dict[bytes, bytes]] = {
            name: dict(rows) for name, rows in (tables or {}).items()
        }
        self._open: dict[tuple[str, bytes], bytes | None] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value as the open transaction sees it."""
        if (table, key) in self._open:
            return self._open[table, key]
        return self._tables.get(table, {}).get(key)

    def rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Return a table's rows as the open transaction sees them."""
        committed = self._tables.get(table, {})
        for key, value in committed.items():
            seen = self._open.get((table, key), value)
            if seen is not None:
                yield key, seen
        for (name, key), fresh in self._open.items():
            if name == table and key not in committed and fresh is not None:
                yield key, fresh

    def count(self, table: str) -> int:
        """Return how many rows a table has, as the open transaction sees it."""
        committed = self._tables.get(table, {})
        change = 0
        for (name, key), value in self._open.items():
            if name == table:
                change += (value is not None) - (key in committed)
        return len(committed) + change

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Note a change; None takes the row away."""
        self._open[table, key] = value

    @property
    def changed(self) -> bool:
        """Whether the open transaction changes anything."""
        return bool(self._open)

    def pending(self) -> tuple[Change, ...]:
        """Return the open transaction's changes."""
        return tuple(Change(table, key, value) for (table, key), value in self._open.items())

    def mark(self) -> dict[tuple[str, bytes], bytes | None]:
        """Return what `back_to` needs to undo all changes that follow."""
        return dict(self._open)

    def back_to(self, mark: dict[tuple[str, bytes], bytes | None]) -> None:
        """Undo the changes since a mark."""
        self._open = mark

    def discard(self) -> None:
        """Forget the open transaction's changes."""
        self._open.clear()

    def apply(self, changes: Iterable[Change]) -> None:
        """Carry out changes that are durable, and forget the open ones."""
        for change in changes:
            rows = self._tables.setdefault(change.table, {})
            if change.value is None:
                rows.pop(change.key, None)
            else:
                rows[change.key] = change.value
        self._open.clear()

    def all(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """Return every committed row, for a snapshot."""
        return self._tables
