"""What a durable store of the state does, and what passes between it and the journal.

A backend keeps rows of ciphertext and public hashes. It is trusted to be durable, not to be honest:
whatever it returns is authenticated by whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Backend", "LogRow", "Rekeyed", "Rows"]


@dataclass(frozen=True, slots=True)
class LogRow:
    """One entry of the log: where it stands, its sealed bytes, and its leaf hash."""

    position: int
    sealed: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a state at one moment, for a backend that is made of them; each is read once."""

    slots: Iterable[tuple[str, bytes]]
    records: Iterable[tuple[int, bytes]]
    snapshot: tuple[int, bytes] | None
    log: Iterable[LogRow]


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What takes the place of everything that was sealed under a key that is given up.

    Attributes:
        slots: All that there are afterwards.
        snapshot: Of the state after the record that the change is.
        log: Every row, with those that the record adds; read once, and may fail at its end.
    """

    slots: Iterable[tuple[str, bytes]]
    snapshot: bytes
    log: Iterable[LogRow]


class Backend(Protocol):
    """Durable rows. One transaction a call; what a call returned from is durable."""

    @property
    def shared(self) -> bool:
        """Whether other replicas may add records while this one has it open."""
        ...

    def slot(self, name: str) -> bytes | None:
        """Return what was kept under a name, such as a sealed state key."""
        ...

    def slots(self) -> Iterable[tuple[str, bytes]]:
        """Return every name and its value, in the order of the names."""
        ...

    def put_slot(self, name: str, value: bytes) -> None:
        """Keep a value under a name."""
        ...

    def append(self, sequence: int, sealed: bytes, log: Iterable[LogRow]) -> None:
        """Add record `sequence` and its log rows, all or nothing.

        Raises:
            StateMovedError: Somebody else has added a record of that number.
            StorageFullError: Nothing was added.
            UnavailableError: It is not known whether it was added: read the records behind the last
                known one before deciding anything.
        """
        ...

    def rekey(self, sequence: int, sealed: bytes, rows: Rekeyed) -> None:
        """Add record `sequence` and put everything else under another key, all or nothing.

        The record stays, the last one under the older key, for replicas that have read the one
        before it; all older ones go. Raises what `append` raises, and whatever reading `rows` does.
        """
        ...

    def records(self, after: int) -> Iterable[tuple[int, bytes]]:
        """Return the records behind number `after`, in order, with their numbers."""
        ...

    def snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest snapshot and the number of the record that it stands for."""
        ...

    def put_snapshot(self, sequence: int, sealed: bytes, *, keep: int) -> None:
        """Replace older snapshots, and drop records up to number `keep`; a newer one stays."""
        ...

    def log(self, first: int, count: int) -> Iterable[LogRow]:
        """Return up to `count` rows of the log from position `first`."""
        ...

    def log_size(self) -> int:
        """Return the position behind the newest row of the log, as far as it is to be believed."""
        ...

    def leaves(self) -> Iterable[bytes]:
        """Return every leaf hash, in order."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
