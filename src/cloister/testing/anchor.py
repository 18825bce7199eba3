"""Anchors for tests: in memory, with leases that can be taken over and a service that can fail."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.volume.anchor import ROOT_BYTES, AnchorState

__all__ = ["AnchorHolder", "MemoryAnchor"]


@dataclass(slots=True)
class AnchorHolder:
    """Plays the key service: one volume's state and who may advance it."""

    current: AnchorState = field(default_factory=lambda: AnchorState(0, bytes(ROOT_BYTES), 0))
    lease: int = 0
    oldest_key: int = FIRST_KEY_EPOCH
    history: list[AnchorState] = field(default_factory=list)

    def register(self, *, version: int, root: bytes) -> None:
        """Set the first state of a new volume."""
        self.current = AnchorState(version, root, 0)
        self.history.append(self.current)

    def acquire(self) -> MemoryAnchor:
        """Give the lease to a new writer."""
        self.lease += 1
        return MemoryAnchor(self, epoch=self.lease)

    def reader(self) -> MemoryAnchor:
        """Return an anchor for reading only."""
        return MemoryAnchor(self, epoch=0)


class MemoryAnchor:
    """One party's view of an `AnchorHolder`.

    `down` makes every call fail; `lose_reply` makes the next `advance` happen and then fail.
    """

    def __init__(self, holder: AnchorHolder, *, epoch: int) -> None:
        """Hold the lease with this epoch, or none where it is 0."""
        self.holder = holder
        self.down = False
        self.lose_reply = False
        self._epoch = epoch

    @property
    def epoch(self) -> int:
        """The epoch of the lease held here."""
        return self._epoch

    def state(self) -> AnchorState:
        """Return the newest committed state."""
        self._answer()
        return self.holder.current

    def advance(
        self,
        *,
        version: int,
        root: bytes,
        new_version: int,
        new_root: bytes,
        oldest_key: int = FIRST_KEY_EPOCH,
    ) -> None:
        """Compare and swap, as `Anchor.advance` says."""
        self._answer()
        current = self.holder.current
        if not self._epoch or self._epoch != self.holder.lease:
            raise ReleaseDeniedError("a newer writer holds the lease", code="release.fenced")
        if (current.version, current.root) != (new_version, new_root):
            if (current.version, current.root) != (version, root) or new_version <= version:
                raise ReleaseDeniedError("the state is another one", code="release.fenced")
            self.holder.current = AnchorState(new_version, new_root, self._epoch)
            self.holder.oldest_key = oldest_key
            self.holder.history.append(self.holder.current)
        if self.lose_reply:
            self.lose_reply = False
            raise UnavailableError("the reply was lost", code="volume.anchor")

    def _answer(self) -> None:
        if self.down:
            raise UnavailableError("the anchor is down", code="volume.anchor")
