"""Leases: one writer for each volume, fenced by epochs. Pure rules.

Invariants:
    1. Every successful `take` has a larger epoch than any before, for that volume, for ever.
    2. Only the newest epoch's holder moves the anchor; expiry alone fences nobody.
    3. Expiry decides one thing: whether *another* holder may take the lease. It is judged by the
       service's uptime clock; after a restart each held lease runs for one full lifetime, because
       nobody knows how much of it had passed.

Spec: key-release-v1, clauses KR-40 to KR-45.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cloister.crypto.digest import same_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.records import Holder, VolumeRecord
from cloister.keyservice.volume_rotation import require_kept

__all__ = [
    "LEASE_TTL_S",
    "AnchorMove",
    "LeaseTable",
    "advance",
    "released",
    "require_epoch",
    "take",
]

LEASE_TTL_S: Final = 15


class OtherReplicas(Protocol):
    """What the replicas of a shared state know of each other's leases."""

    def note(self, volume_id: bytes) -> None:
        """Tell the others that a lease was renewed now."""
        ...

    def remaining(self, volume_id: bytes) -> float:
        """Return the seconds until a lease runs out that others may have renewed."""
        ...


class LeaseTable:
    """When each held lease runs out. Kept in memory (invariant 3), and told to other replicas."""

    def __init__(self, *, ttl_s: int, uptime: float, others: OtherReplicas | None = None) -> None:
        """Start at this `uptime`; leases that nobody has renewed since run until one `ttl_s`."""
        self.ttl_s: Final = ttl_s
        self._others = others
        self._from_before = uptime + ttl_s
        self._ends: dict[bytes, float] = {}

    def extend(self, volume_id: bytes, *, uptime: float) -> None:
        """Let the volume's lease run for a full lifetime from now."""
        self._ends[volume_id] = uptime + self.ttl_s
        if self._others is not None:
            self._others.note(volume_id)

    def remaining(self, volume_id: bytes, *, uptime: float) -> float:
        """Return the seconds until it runs out; zero or less if it has."""
        here = self._ends.get(volume_id, self._from_before) - uptime
        return here if self._others is None else max(here, self._others.remaining(volume_id))


@dataclass(frozen=True, slots=True)
class AnchorMove:
    """From one anchored state to the next, and the lowest key epoch that that is sealed under."""

    version: int
    root: bytes
    new_version: int
    new_root: bytes
    oldest_key: int = FIRST_KEY_EPOCH


def take(
    record: VolumeRecord, holder: Holder, leases: LeaseTable, *, uptime: float
) -> VolumeRecord:
    """Return the record with a new epoch for `holder`.

    Whoever shows the same key digest as the present holder takes over at once: it is the same
    run, asking again after a lost reply.

    Raises:
        UnavailableError: Another holder's lease is still running (code `volume.leased`).
    """
    present = record.holder
    remaining = leases.remaining(record.handle, uptime=uptime)
    if (
        present is not None
        and remaining > 0
        and not same_bytes(present.key_digest, holder.key_digest)
    ):
        raise UnavailableError(
            f"volume {record.id.hex()} has another writer; its lease lapses in "
            f"{int(remaining) + 1} s unless renewed",
            code="volume.leased",
            hint="stop the other writer, or wait for its lease to lapse",
        )
    return replace(record, epoch=record.epoch + 1, holder=holder)


def released(record: VolumeRecord, keys: Collection[bytes]) -> VolumeRecord:
    """Return the record without a holder, if its holder's key is one of these."""
    ended = record.holder is not None and record.holder.key_digest in keys
    return replace(record, holder=None) if ended else record


def require_epoch(record: VolumeRecord, epoch: int) -> Holder:
    """Return the holder if `epoch` is the newest that was given out.

    Raises:
        ReleaseDeniedError: A newer writer has taken over, or the lease was released
            (code `release.fenced`).
    """
    if record.holder is None or epoch != record.epoch:
        raise ReleaseDeniedError(
            f"epoch {epoch} of volume {record.id.hex()} is over: another writer has the volume",
            code="release.fenced",
        )
    return record.holder


def advance(record: VolumeRecord, move: AnchorMove) -> VolumeRecord | None:
    """Return the record after the move, or None where the state is already there.

    Raises:
        ReleaseDeniedError: The anchored state is another, or the new one is sealed under a key
            that was retired (code `release.fenced`).
        MalformedError: It is sealed under a key that was never made.
    """
    if (record.version, record.root) == (move.new_version, move.new_root):
        return None
    if (record.version, record.root) != (move.version, move.root):
        raise ReleaseDeniedError(
            f"volume {record.id.hex()} is at version {record.version}, not {move.version}",
            code="release.fenced",
        )
    return replace(
        record,
        version=move.new_version,
        root=move.new_root,
        state_epoch=record.epoch,
        oldest_key=require_kept(record, move.oldest_key),
    )
