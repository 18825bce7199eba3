"""A small volume in memory with its key and anchor, for tests of everything above a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cloister.crypto.digest import sha256
from cloister.crypto.keyring import KeyRing
from cloister.testing.anchor import AnchorHolder, MemoryAnchor
from cloister.testing.store import MemoryStore
from cloister.volume.anchor import Anchor
from cloister.volume.filesystem import ROOT_INO, SetAttributes
from cloister.volume.format import VolumeIdentity
from cloister.volume.opening import Clocks, create_store, open_store
from cloister.volume.regions import ENCRYPTED_ONLY, Regions
from cloister.volume.rekey import RekeyReport
from cloister.volume.tree import VolumeFilesystem

__all__ = ["SMALL_BLOCK", "StepClock", "VolumeBench", "get", "put", "truncate"]

SMALL_BLOCK: Final = 512


class StepClock:
    """A clock that moves when told, and by one nanosecond whenever it is read."""

    def __init__(self) -> None:
        """Begin at one second."""
        self.now_ns = 10**9

    def wall_ns(self) -> int:
        """Return nanoseconds."""
        self.now_ns += 1
        return self.now_ns

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now_ns / 1e9

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * 1e9)

    @property
    def clocks(self) -> Clocks:
        """This clock in the form a volume takes."""
        return Clocks(self.wall_ns, self.monotonic)


@dataclass(slots=True)
class VolumeBench:
    """One mutable volume, its owner and its host."""

    block_bytes: int = SMALL_BLOCK
    key: bytes = bytes(range(32))
    store: MemoryStore = field(default_factory=MemoryStore)
    holder: AnchorHolder = field(default_factory=AnchorHolder)
    clock: StepClock = field(default_factory=StepClock)
    later_keys: KeyRing | None = None
    regions: Regions = ENCRYPTED_ONLY

    @property
    def keys(self) -> KeyRing:
        """What is released to whoever opens the volume now: `key`, until it is rotated."""
        return self.later_keys or KeyRing.first(self.key)

    def rotate(self) -> None:
        """Give the volume a newer key."""
        epoch = self.keys.epoch + 1
        self.later_keys = self.keys.rotated(sha256(self.key + epoch.to_bytes(4, "big")))

    def retire(self) -> None:
        """Destroy the keys that the anchored state does not use."""
        self.later_keys = self.keys.since(self.holder.oldest_key)

    def rekey(self) -> RekeyReport:
        """Move the volume to its newest key, without the regions, as its owner does."""
        regions, self.regions = self.regions, Regions.as_recorded()
        try:
            fs = self.writer()
        finally:
            self.regions = regions
        try:
            return fs.rekeying().run(progress=lambda _: None)
        finally:
            fs.close()

    def create(self) -> VolumeIdentity:
        """Make the volume and register it."""
        identity = create_store(
            self.store, self.key, block_bytes=self.block_bytes, at_ns=self.clock.wall_ns()
        )
        self.holder.register(version=identity.version, root=identity.root)
        return identity

    def writer(self, anchor: MemoryAnchor | None = None) -> VolumeFilesystem:
        """Open for writing, with a new lease unless an anchor is given."""
        return self.open(anchor or self.holder.acquire(), writable=True)

    def reader(self) -> VolumeFilesystem:
        """Open for reading."""
        return self.open(self.holder.reader(), writable=False)

    def open(self, anchor: Anchor, *, writable: bool) -> VolumeFilesystem:
        """Open with any anchor."""
        return open_store(
            self.store,
            self.keys,
            anchor=anchor,
            writable=writable,
            clocks=self.clock.clocks,
            regions=self.regions,
        )

    def crash(self) -> None:
        """Leave the store as it is, without the lock of a process that is gone."""
        self.store.locked = False


def put(filesystem: VolumeFilesystem, name: bytes, data: bytes, *, parent: int = ROOT_INO) -> int:
    """Make or replace a file; return its inode."""
    names = {entry.name: entry.ino for entry in filesystem.list_directory(parent)}
    ino = names.get(name) or filesystem.create(parent, name, 0o644, 0, 0).ino
    if filesystem.attributes(ino).size > len(data):
        truncate(filesystem, ino, 0)
    filesystem.write(ino, 0, memoryview(data))
    return ino


def get(filesystem: VolumeFilesystem, name: bytes, *, parent: int = ROOT_INO) -> bytes:
    """Return a file's whole content."""
    found = filesystem.lookup(parent, name)
    out = bytearray(found.size)
    count = filesystem.read_into(found.ino, 0, memoryview(out))
    return bytes(out[:count])


def truncate(filesystem: VolumeFilesystem, ino: int, size: int) -> None:
    """Set a file's size."""
    filesystem.set_attributes(ino, SetAttributes(size=size))
