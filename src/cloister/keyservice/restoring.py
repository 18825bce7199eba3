"""Make backups of a key service's state, and bring them back.

Invariants:
    1. A state is brought back only where there is none, as a whole or not at all, and only after it
       opened and its log is the one that its tree stands for.
    2. An older state comes back only by a reset that was approved (`reset`), and then under a later
       number, which the platform's counter shows before anything of it lies in the service's place.

Spec: keyservice-recovery-v1, clauses BR-5 to BR-9 and BR-12 to BR-19.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import TamperedError, UnavailableError
from cloister.keyservice import merkle
from cloister.keyservice.approvals import Approval
from cloister.keyservice.going_back import go_back
from cloister.keyservice.governance import governing
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.new_file import new_file
from cloister.keyservice.reset import Reset, require_reset
from cloister.keyservice.state.backend import Backend, Rows
from cloister.keyservice.state.backup import Backup, head_of, write_backup
from cloister.keyservice.state.format import FORMAT, require_format
from cloister.keyservice.state.freshness import rolled_back
from cloister.keyservice.state.platform_key import (
    retired_slots,
    seal_state_key,
    unseal_older_state_key,
    unseal_state_key,
)
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.record import Head, StateKey
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.keyservice.store import COUNTER, DATABASE_PURPOSE, Store
from cloister.tee.sim.platform import MonotonicCounter, SimPlatform

__all__ = [
    "Place",
    "back_up",
    "look_into",
    "newest_number",
    "propose_reset",
    "reset",
    "restore",
]

RESET_COUNTER: Final = "keyservice-reset"
_LOCK_WAIT_S: Final = 10.0
_FORMAT_SLOT: Final = "format"

Progress = Callable[[int, int], None]
Unlock = Callable[[Backend], StateKey]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service's state is.

    Attributes:
        directory: Of the embedded state.
        database: `postgresql://` address of a shared one; empty for the embedded.
        platform: Whose key and counter it has.
    """

    directory: Path
    database: str
    platform: SimPlatform

    @contextlib.contextmanager
    def at_one_moment(self) -> Iterator[Backend]:
        """Give what is there, as it is at one moment, also while it is served."""
        if self.database:
            shared = PostgresBackend.open(self.database)
            with contextlib.closing(shared), shared.at_one_moment():
                yield shared
        else:
            key = self.platform.sealing_key(DATABASE_PURPOSE)
            with SQLCipherBackend.at_one_moment(self.directory, key) as embedded:
                yield embedded

    def open(self) -> Store:
        """Open the state to change it; the caller closes it."""
        if self.database:
            return Store.open_shared(self.database, self.platform)
        return Store.open(self.directory, self.platform)

    def build(self, rows: Rows) -> None:
        """Put a whole state there, where there is none, or nothing of it."""
        if self.database:
            PostgresBackend.build(self.database, rows)
        else:
            key = self.platform.sealing_key(DATABASE_PURPOSE)
            SQLCipherBackend.build(self.directory, key, rows)

    def require_empty(self) -> None:
        """Raise where there is a state, or what is left of one."""
        if self.database:
            PostgresBackend.require_none(self.database)
        else:
            SQLCipherBackend.require_none(self.directory)

    def unlock(self, backend: Backend) -> StateKey:
        """Unseal the state key, where this platform can and has seen no newer one."""
        return unseal_state_key(backend, self.platform)

    def unlock_older(self, backend: Backend) -> StateKey:
        """Unseal a state key that may have been changed since, for a reset that is approved."""
        return unseal_older_state_key(backend, self.platform)


class _Unwitnessed:
    """The witness of a state that is looked at and never written."""

    def reading(self) -> None:
        """Expect nothing."""

    def opened(self, head: Head) -> None:
        """Compare with nothing: the caller does."""

    def committing(self, head: Head) -> None:
        """Leave the refusal to the backup, which is not written to."""

    def abandoned(self) -> None:
        """Nothing was announced."""

    def committed(self, before: Head, head: Head) -> None:
        """Never comes."""

    def close(self) -> None:
        """Nothing is held."""


def back_up(place: Place, path: Path, *, progress: Progress) -> Head:
    """Write a backup of a state to a new file, also while it is served, and check what was written.

    Raises:
        ConfigError: The file exists, or cannot be made.
        TamperedError: The state, or what was written of it, does not open (`state.tampered`), or is
            an older one than the platform has seen (`state.rolled-back`).
        UnavailableError: The database or the disk fails.
    """
    with contextlib.closing(place.platform.counter(COUNTER)) as counter:
        expected = counter.read()
    with new_file(path) as (file, unfinished):
        with place.at_one_moment() as backend:
            write_backup(backend, file, progress=progress)
        file.flush()
        store, _ = look_into(unfinished, place.unlock)
        head = store.head
        store.close()
        if head.sequence < expected:
            raise rolled_back(head, expected)
    return head


def look_into(path: Path, unlock: Unlock) -> tuple[Store, Backup]:
    """Open the state in a backup to look at it, checking all of it; the caller closes the store.

    The backup beside it is the file that was checked: what is copied from it is the same.

    Raises:
        ConfigError: There is no such file, or a newer version wrote the state (`state.newer`).
        TamperedError: It does not open, or its log is another one (`state.tampered`).
    """
    backup = Backup(path)
    try:
        require_format(backup.slot(_FORMAT_SLOT))
        key = unlock(backup)
    except BaseException:
        backup.close()
        raise
    store = Store.load_with(backup, key, _Unwitnessed())
    try:
        _require_log(store, backup)
    except BaseException:
        store.close()
        raise
    return store, backup


def restore(path: Path, place: Place) -> Head:
    """Bring a backup back where there is no state; it is the newest there ever was.

    Raises:
        ConfigError: There is a state already (`config.exists`), or no such file.
        TamperedError: The backup does not open (`state.tampered`), or the platform has seen a newer
            state (`state.rolled-back`).
        UnavailableError: A service is in the middle of a change, or the database fails.
    """
    store, backup = look_into(path, place.unlock)
    with contextlib.closing(store), _counters(place) as (seen, _):
        head = store.head
        if head.sequence < seen.read():
            raise rolled_back(head, seen.read())
        said = require_format(backup.slot(_FORMAT_SLOT))
        place.build(
            Rows(
                _slots(said, seal_state_key(store.key, place.platform), backup),
                backup.records(0),
                backup.snapshot(),
                backup.log_rows(),
            )
        )
    return head


def propose_reset(
    path: Path, *, service: VerifyingKey, platform: VerifyingKey, given_up: int, at: int
) -> Reset:
    """Return the statement that approvers sign; needs no key, and believes the file.

    Raises:
        ConfigError: There is no such file.
        TamperedError: It is no whole backup (`state.tampered`).
    """
    with contextlib.closing(Backup(path)) as backup:
        head = head_of(backup)
    return Reset(service, platform, max(given_up, head.sequence), head, at)


def newest_number(platform: SimPlatform) -> int:
    """Return the newest number that a platform has seen of its service's state."""
    with contextlib.closing(platform.counter(COUNTER)) as counter:
        return counter.read()


def reset(
    path: Path,
    place: Place,
    statement: Reset,
    approvals: Sequence[Approval],
    *,
    unlock: Unlock,
    at: int,
) -> Head:
    """Go back to an older state, where there is none now; returns the head that it goes on from.

    Whoever went on from the state that is given up stops at its next change.

    Args:
        path: The backup.
        place: Has no state; a service that still has one is stopped by this.
        statement: Untrusted; what is approved.
        approvals: Untrusted.
        unlock: Gives the state key: of the platform, or recovered.
        at: Now.

    Raises:
        ConfigError: There is a state already (`config.exists`), or no such file.
        TamperedError: The backup does not open (`state.tampered`).
        ReleaseDeniedError: The approvals are not of this (`approval.*`).
        UnavailableError: A service is in the middle of a change, or the database fails.
    """
    store, backup = look_into(path, unlock)
    with contextlib.closing(store), _counters(place) as (seen, taken):
        secrets = store.secrets()
        require_reset(
            statement,
            approvals,
            governance=governing(ROOT, store.tenancy, founder=secrets.owner),
            service=SigningKey(secrets.signing_seed).public,
            platform=place.platform.anchor,
            head=store.head,
            seen=seen.read(),
            taken=taken.read(),
            at=at,
        )
        key, head = store.key, go_back(store, statement)
        snapshot, gained = store.leave_for(head)
        place.require_empty()
        # The state that is given up ends here, whatever becomes of the next. What is killed after
        # the second counter has moved may be done again; between the two it wants a new approval.
        seen.raise_to(head.sequence)
        taken.raise_to(head.sequence)
        place.build(
            Rows(
                _slots(FORMAT, seal_state_key(key, place.platform), backup),
                (),
                (head.sequence, snapshot),
                chain(backup.log_rows(), gained),
            )
        )
    return head


def _slots(said: bytes, key: tuple[str, bytes], backup: Backup) -> list[tuple[str, bytes]]:
    return [(_FORMAT_SLOT, said), key, *retired_slots(backup.slots())]


@contextlib.contextmanager
def _counters(place: Place) -> Iterator[tuple[MonotonicCounter, MonotonicCounter]]:
    """Give the platform's counters of records and of resets; nobody else moves them meanwhile."""
    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(contextlib.closing(place.platform.counter(COUNTER)))
        taken = stack.enter_context(contextlib.closing(place.platform.counter(RESET_COUNTER)))
        if not seen.acquire(_LOCK_WAIT_S):
            raise UnavailableError("a key service does not finish writing", code="keyservice.busy")
        yield seen, taken


def _require_log(store: Store, backup: Backup) -> None:
    peaks: tuple[bytes, ...] = ()
    size = 0
    for row in backup.log_rows():
        if row.position != size:
            raise _another_log(size)
        leaf = merkle.leaf_hash(store.open_entry(row))
        if leaf != row.leaf:
            raise _another_log(size)
        peaks, size = merkle.append(peaks, size, leaf), size + 1
    if size != store.log_size or merkle.root_of_peaks(peaks) != store.log_root():
        raise _another_log(size)


def _another_log(position: int) -> TamperedError:
    return TamperedError(
        "the backup's log is not the one of its state",
        code="state.tampered",
        detail=f"at entry {position}",
    )
