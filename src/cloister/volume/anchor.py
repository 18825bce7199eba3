"""The one fact about a volume that its host cannot roll back.

An anchor holds `(version, root, epoch)` for one volume outside the host's reach: the key service
in production, a file of the owner's on her own machine. `advance` is a compare-and-swap; `epoch`
fences writers: each writer's lease has a larger one, and an older writer's `advance` is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import ReleaseDeniedError

__all__ = ["ROOT_BYTES", "Anchor", "AnchorFacts", "AnchorState", "PinnedAnchor"]

ROOT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class AnchorState:
    """The newest committed state: `version` counts commits from 1; 0 is a volume never committed.

    `epoch` is that of the writer who made it.
    """

    version: int
    root: bytes
    epoch: int


class AnchorFacts(Protocol):
    """What `AnchorState` holds, as another part's own type may hold it too."""

    @property
    def version(self) -> int:
        """How many commits there were."""
        ...

    @property
    def root(self) -> bytes:
        """The root of the newest."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of its writer."""
        ...


class Anchor(Protocol):
    """Where a volume's newest root is kept, for one volume and, when writing, one lease."""

    @property
    def epoch(self) -> int:
        """The epoch of the lease held here; 0 where the volume may only be read."""
        ...

    def state(self) -> AnchorFacts:
        """Return the newest committed state.

        Raises:
            UnavailableError: The holder of the anchor cannot be reached in time.
        """
        ...

    def advance(
        self,
        *,
        version: int,
        root: bytes,
        new_version: int,
        new_root: bytes,
        oldest_key: int = FIRST_KEY_EPOCH,
    ) -> None:
        """Replace `(version, root)` by `(new_version, new_root)`; `new_version` is larger.

        Idempotent: asking again for what is already there succeeds.

        `oldest_key` is the lowest key epoch that the new state is sealed under. Whoever keeps the
        volume's keys may forget the ones below it. Left out, it keeps them all.

        Raises:
            ReleaseDeniedError: Code `release.fenced`: a newer writer holds the lease, or the state
                is no longer `(version, root)`. The caller must stop writing.
            UnavailableError: Not known whether it happened; ask again.
        """
        ...


@dataclass(frozen=True, slots=True)
class PinnedAnchor:
    """An anchor for reading one fixed state, learned from a trusted source before."""

    pinned: AnchorFacts

    @property
    def epoch(self) -> int:
        """Always 0: there is no lease."""
        return 0

    def state(self) -> AnchorFacts:
        """Return the pinned state."""
        return self.pinned

    def advance(
        self,
        *,
        version: int,
        root: bytes,
        new_version: int,
        new_root: bytes,
        oldest_key: int = FIRST_KEY_EPOCH,
    ) -> None:
        """Refuse: a pinned state does not move."""
        del version, root, new_version, new_root, oldest_key
        raise ReleaseDeniedError("this volume is pinned to one state", code="release.fenced")
