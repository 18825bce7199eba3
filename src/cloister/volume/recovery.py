"""Which state of a volume is the right one, and how it is read into memory.

The anchor is trusted, the disk is not. `choose` decides without I/O:

    1. The entry whose version and root the anchor names must be there: it is the base.
    2. A writer, and only a writer, rolls forward over entries behind it that chain on, are
       authentic, have no older epoch, and are under the newest key: commits that were durable when
       their writer died before it heard from the anchor. It anchors them before anything else.
       Under an older key they may be the work of whoever that key was lost to.
    3. Whatever else lies behind is the rest of a torn commit, and is cut.
    4. No base: `volume.rolled-back` where the newest entry is older than the anchor's,
       `volume.truncated` where entries are missing or cut, `volume.tampered` where another
       history stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.keyring import KeyRing
from cloister.errors import CallerError, ReleaseDeniedError, TamperedError
from cloister.volume.anchor import Anchor, AnchorFacts
from cloister.volume.format import (
    SUPERBLOCK_BYTES,
    EntryKind,
    Superblock,
    VolumeIdentity,
    VolumeKind,
)
from cloister.volume.index import Index
from cloister.volume.journal import Ending, Frame, Segment, open_entry, survey
from cloister.volume.keys import VolumeKeys
from cloister.volume.store import Store, read_all

__all__ = ["SUPERBLOCK", "Recovered", "choose", "observe_store", "read_superblock", "recover"]

SUPERBLOCK: Final = "superblock"


@dataclass(slots=True)
class Recovered:
    """An opened state: what it is, where its journal goes on, and what the anchor knows of it."""

    superblock: Superblock
    keys: VolumeKeys
    index: Index
    segment: Segment
    head: Frame
    anchored: AnchorFacts


def read_superblock(store: Store) -> Superblock:
    """Read and parse the superblock; nothing is verified.

    Raises:
        TamperedError: Code `volume.truncated`: there is none.
        MalformedError: It is not one.
    """
    return Superblock.from_bytes(read_all(store, SUPERBLOCK, max_bytes=SUPERBLOCK_BYTES + 1))


def observe_store(store: Store) -> VolumeIdentity:
    """Say which volume and state a directory claims to hold, from its bytes alone, without a key.

    For a sealed volume this is exact: whoever opens it under an anchor with this root gets these
    bytes or an error. For a mutable one it is the newest state that chains on the oldest.

    Raises:
        TamperedError: Code `volume.truncated`: no complete index is there.
    """
    superblock = read_superblock(store)
    frames = [frame for segment in survey(store, superblock) for frame in segment.frames]
    if not frames:
        raise _truncated()
    head = max(frames, key=lambda frame: frame.header.version)
    return VolumeIdentity(superblock.volume_id, head.header.version, head.root)


def recover(
    store: Store, volume_key: KeyRing | bytes, anchor: Anchor, *, writable: bool
) -> Recovered:
    """Open the state that the anchor names, or a later one that a writer may roll forward to.

    Does not write: the caller cuts and anchors what `Recovered` says.

    Raises:
        TamperedError: The disk does not hold the state that the anchor names.
        MalformedError: It is not a volume.
        ReleaseDeniedError: A newer writer holds the lease (`release.fenced`), or the state is
            sealed under a key that is not here (`release.key-missing`).
        UnavailableError: Storage or anchor did not answer.
    """
    superblock = read_superblock(store)
    keys = VolumeKeys(volume_key, superblock)
    state = anchor.state()
    if writable:
        _require_writable(superblock, state, epoch=anchor.epoch)
    segments = survey(store, superblock)
    segment, position = choose(segments, state)
    index = Index()
    for frame in segment.frames[: position + 1]:
        items = open_entry(store, keys, superblock, frame, segment.path)
        index.apply(items, key_epoch=frame.header.key_epoch)
    recovered = Recovered(superblock, keys, index, segment, segment.frames[position], state)
    if writable:
        _roll_forward(store, recovered, segments)
    index.check()
    return recovered


def choose(segments: Sequence[Segment], state: AnchorFacts) -> tuple[Segment, int]:
    """Find the entry that the anchor names.

    Returns:
        Its segment and its position there.

    Raises:
        TamperedError: It is not there.
    """
    if not state.version:
        raise TamperedError(
            "the anchor knows no committed state of this volume", code="volume.tampered"
        )
    for segment in segments:
        for position, frame in enumerate(segment.frames):
            if (frame.header.version, frame.root) == (state.version, state.root):
                return segment, position
    newest = max(
        (frame.header.version for segment in segments for frame in segment.frames), default=0
    )
    endings = {segment.ending for segment in segments}
    if not newest or Ending.CUT in endings:
        raise _truncated()
    if newest < state.version and Ending.BROKEN in endings:
        raise TamperedError("the volume's index was changed", code="volume.tampered")
    if newest < state.version:
        raise TamperedError(
            f"the volume is an older copy: version {newest}, but version {state.version} is the "
            "newest committed",
            code="volume.rolled-back",
        )
    raise TamperedError(
        f"the volume has another history than the committed one at version {state.version}",
        code="volume.tampered",
    )


def _roll_forward(store: Store, recovered: Recovered, segments: Sequence[Segment]) -> None:
    epoch = recovered.anchored.epoch
    while True:
        found = _next(recovered, segments)
        if found is None or found[1].header.epoch < epoch:
            return
        segment, frame = found
        if frame.header.key_epoch != recovered.keys.epoch:
            return
        try:
            items = open_entry(store, recovered.keys, recovered.superblock, frame, segment.path)
        except TamperedError:
            return
        if frame.header.kind is EntryKind.FULL:
            recovered.index = Index()
        recovered.index.apply(items, key_epoch=frame.header.key_epoch)
        recovered.segment, recovered.head = segment, frame
        epoch = frame.header.epoch


def _next(recovered: Recovered, segments: Sequence[Segment]) -> tuple[Segment, Frame] | None:
    """Return the entry that chains on the head: in the same segment, or first in another."""
    frames = recovered.segment.frames
    position = frames.index(recovered.head)
    if position + 1 < len(frames):
        return recovered.segment, frames[position + 1]
    head = recovered.head
    for segment in segments:
        if segment.frames and segment.frames[0].header.previous == head.root:
            first = segment.frames[0]
            if first.header.version == head.header.version + 1:
                return segment, first
    return None


def _require_writable(superblock: Superblock, state: AnchorFacts, *, epoch: int) -> None:
    if superblock.kind is not VolumeKind.MUTABLE:
        raise CallerError("a sealed volume cannot be opened for writing", code="caller.misuse")
    if not epoch:
        raise CallerError("writing needs a lease, and there is none", code="caller.misuse")
    if epoch < state.epoch:
        raise ReleaseDeniedError("a newer writer holds this volume's lease", code="release.fenced")


def _truncated() -> TamperedError:
    return TamperedError("part of the volume's index is missing", code="volume.truncated")
