"""Make, open and observe volumes that lie in a directory.

Trusted: the key, the anchor. Not trusted: every byte of the directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.crypto.keyring import KeyRing
from cloister.errors import ConfigError, TamperedError
from cloister.volume.anchor import Anchor
from cloister.volume.commit import Committer
from cloister.volume.content.blocks import Blocks
from cloister.volume.content.contents import Contents
from cloister.volume.content.file import object_file
from cloister.volume.content.shared import PACK_PATH, Shared
from cloister.volume.format import (
    NO_ROOT,
    EntryKind,
    Geometry,
    Superblock,
    VolumeIdentity,
    VolumeKind,
)
from cloister.volume.index import NO_OBJECT, Index
from cloister.volume.journal import JOURNAL, seal_entry, segment_path
from cloister.volume.keys import SessionKeys, VolumeKeys, make_superblock
from cloister.volume.placement import Placement
from cloister.volume.recovery import (
    SUPERBLOCK,
    Recovered,
    observe_store,
    read_superblock,
    recover,
)
from cloister.volume.regions import ENCRYPTED_ONLY, Regions
from cloister.volume.store import PosixStore, Store
from cloister.volume.tree import COMMIT_INTERVAL_S, VolumeFilesystem

__all__ = [
    "BLOCK_BYTES",
    "Clocks",
    "create_store",
    "create_volume",
    "observe",
    "observe_kind",
    "open_store",
    "open_volume",
    "write_new_volume",
]

BLOCK_BYTES: Final = 65536
_VOLUME_ID_BYTES: Final = 16
_OBJECTS: Final = "objects"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where a volume's time comes from: file times in nanoseconds, and a steady clock."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic: Callable[[], float] = time.monotonic


def create_volume(directory: Path, volume_key: bytes) -> VolumeIdentity:
    """Make an empty mutable volume in a directory that is missing or empty.

    The caller registers the identity with the volume's anchor; until then nothing opens it.

    Raises:
        ConfigError: Code `config.exists`: the directory holds something.
        StorageFullError: What was begun is no volume and may be deleted.
    """
    store = new_directory(directory)
    at_ns = Clocks().wall_ns()
    return create_store(store, volume_key, block_bytes=BLOCK_BYTES, at_ns=at_ns)


def new_directory(directory: Path) -> PosixStore:
    """Return a store for a directory that is missing or empty, and is made where missing.

    Raises:
        ConfigError: Code `config.exists`: it holds something.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = any(directory.iterdir())
    except FileExistsError as e:
        raise ConfigError(f"not a directory: {directory}", code="config.exists") from e
    except OSError as e:
        raise ConfigError(f"cannot use {directory}: {e.strerror}", code="config.value") from e
    if taken:
        raise ConfigError(
            f"the directory {directory} is not empty", code="config.exists", hint="name a new one"
        )
    return PosixStore(directory, writable=True)


def create_store(
    store: Store, volume_key: bytes, *, block_bytes: int, at_ns: int
) -> VolumeIdentity:
    """Make an empty mutable volume in an empty store."""
    superblock = make_superblock(
        volume_key,
        kind=VolumeKind.MUTABLE,
        block_bytes=block_bytes,
        volume_id=random_bytes(_VOLUME_ID_BYTES),
    )
    index = Index()
    index.make_root(mode=0o755, at_ns=at_ns)
    store.create(PACK_PATH).close()
    return write_new_volume(store, VolumeKeys(volume_key, superblock), superblock, index)


def write_new_volume(
    store: Store, keys: VolumeKeys, superblock: Superblock, index: Index
) -> VolumeIdentity:
    """Write version 1 and, last, the superblock: before that the directory is no volume."""
    pieces, root = seal_entry(
        keys,
        superblock,
        index.full(),
        kind=EntryKind.FULL,
        version=1,
        epoch=0,
        previous=NO_ROOT,
    )
    _write_durably(store, segment_path(1), pieces)
    store.sync_directory(JOURNAL)
    store.sync_directory(_OBJECTS)
    _write_durably(store, "lock", [])
    _write_durably(store, SUPERBLOCK, [superblock.to_bytes()])
    store.sync_directory(".")
    return VolumeIdentity(superblock.volume_id, 1, root)


def open_volume(
    directory: Path,
    volume_key: KeyRing | bytes,
    *,
    anchor: Anchor,
    writable: bool,
    regions: Regions = ENCRYPTED_ONLY,
) -> VolumeFilesystem:
    """Open the state that the anchor names.

    Args:
        directory: The volume's store.
        volume_key: The keys that it may be sealed under.
        anchor: What holds its newest state.
        writable: Become its one writer.
        regions: Which class each path has; where none are given, all of it is encrypted.

    Raises:
        AppraisalError: Code `volume.region`: a file has another class than its path.
        TamperedError: `volume.rolled-back`, `volume.truncated`, `volume.tampered`, or
            `volume.foreign` for another volume or key.
        MalformedError: Not a volume.
        ConfigError: Code `config.missing`: there is no such directory.
        UnavailableError: `volume.busy`, or storage or anchor did not answer.
        ReleaseDeniedError: A newer writer holds the lease (`release.fenced`), or a volume key is
            missing (`release.key-missing`).
        CallerError: Writing to a sealed volume, or without a lease.
    """
    store = _existing_store(directory, writable=writable)
    return open_store(
        store, volume_key, anchor=anchor, writable=writable, clocks=Clocks(), regions=regions
    )


def open_store(
    store: Store,
    volume_key: KeyRing | bytes,
    *,
    anchor: Anchor,
    writable: bool,
    clocks: Clocks,
    commit_interval_s: float = COMMIT_INTERVAL_S,
    regions: Regions = ENCRYPTED_ONLY,
) -> VolumeFilesystem:
    """Open a volume in any store; see `open_volume`."""
    store.lock(exclusive=writable)
    try:
        recovered = recover(store, volume_key, anchor, writable=writable)
        superblock = recovered.superblock
        placement = Placement(recovered.index, regions)
        placement.check()
        contents = open_contents(store, recovered.keys, superblock, recovered.index)
        committer = _begin_writing(store, recovered, anchor, contents) if writable else None
        placement.prepare(clocks.wall_ns)
    except BaseException:
        store.close()
        raise
    head = recovered.head
    return VolumeFilesystem(
        store,
        identity=VolumeIdentity(superblock.volume_id, head.header.version, head.root),
        index=recovered.index,
        contents=contents,
        committer=committer,
        placement=placement,
        clock_ns=clocks.wall_ns,
        monotonic=clocks.monotonic,
        commit_interval_s=commit_interval_s,
    )


def observe(directory: Path) -> VolumeIdentity:
    """Say which volume and state a directory claims to hold, without a key; see `observe_store`."""
    return observe_store(_existing_store(directory, writable=False))


def observe_kind(directory: Path) -> VolumeKind:
    """Say which kind of volume a directory claims to be, without a key."""
    return read_superblock(_existing_store(directory, writable=False)).kind


def _existing_store(directory: Path, *, writable: bool) -> PosixStore:
    """Name the directory where it is not there or no volume; what is inside is not looked at."""
    if not directory.is_dir():
        raise ConfigError(
            f"there is no volume at {directory}",
            code="config.missing",
            hint="make one with cloister volume seal or create, or correct the path",
        )
    if not (directory / SUPERBLOCK).exists():
        if not (directory / JOURNAL).exists():
            raise TamperedError(
                f"{directory} is a plain folder and no volume",
                code="volume.truncated",
                hint=f"seal what is in it: cloister volume seal {directory} NEW-STORE",
            )
        raise TamperedError(
            f"{directory} holds no volume: its superblock is missing", code="volume.truncated"
        )
    return PosixStore(directory, writable=writable)


def open_contents(store: Store, keys: VolumeKeys, superblock: Superblock, index: Index) -> Contents:
    """Put the parts together that read and write file contents."""
    geometry = Geometry(superblock.block_bytes)
    blocks = Blocks(
        store,
        volume_id=superblock.volume_id,
        geometry=geometry,
        sessions=SessionKeys(keys, index.sessions),
    )
    return Contents(Shared(blocks, geometry), index)


def _begin_writing(
    store: Store, recovered: Recovered, anchor: Anchor, contents: Contents
) -> Committer:
    committer = Committer(store, recovered, anchor, contents)
    committer.begin()
    contents.claim_packed()
    _remove_unnamed_objects(store, recovered)
    return committer


def _remove_unnamed_objects(store: Store, recovered: Recovered) -> None:
    """Delete backing files that the committed state, now the anchored one, does not name."""
    block = recovered.superblock.block_bytes
    named = {
        object_file(inode.object_id, block_bytes=block).path
        for inode in recovered.index.inodes.values()
        if inode.object_id != NO_OBJECT
    }
    for shelf in store.names(_OBJECTS):
        directory = f"{_OBJECTS}/{shelf}"
        if directory == PACK_PATH or len(shelf) != 2:  # noqa: PLR2004 - two hex digits
            continue
        for name in store.names(directory):
            if f"{directory}/{name}" not in named:
                store.remove(f"{directory}/{name}")


def _write_durably(store: Store, path: str, pieces: list[bytes]) -> None:
    handle = store.create(path)
    try:
        handle.write(pieces, 0)
        handle.sync()
    finally:
        handle.close()
