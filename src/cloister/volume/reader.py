"""Read a volume inside this process, without a mount: listing, files, and checking all of it.

    with VolumeReader(directory, volume_key, anchor=anchor) as volume:
        with volume.open("train/images.npy") as file:
            file.readinto(buffer)

This is the fast path: data goes from the host's file through one decryption into the caller's
buffer. Several threads may use one reader; they take turns.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cloister.crypto.keyring import KeyRing
from cloister.errors import TamperedError
from cloister.volume.anchor import Anchor
from cloister.volume.filesystem import ROOT_INO, Attributes
from cloister.volume.format import VolumeIdentity
from cloister.volume.opening import open_volume
from cloister.volume.regions import ENCRYPTED_ONLY, RegionClass, Regions
from cloister.volume.seal import Progress, ProgressReport
from cloister.volume.tree import VolumeFilesystem

__all__ = [
    "ListedFile",
    "VerifyReport",
    "VolumeFile",
    "VolumeReader",
    "read_file",
    "verify_tree",
    "walk",
]

_PIECE_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One name in a volume, with its path from the root, its metadata, and a file's class."""

    path: str
    attributes: Attributes
    target: str
    protection: RegionClass | None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found authentic; `digests` counts files whose content digest was checked too."""

    identity: VolumeIdentity
    files: int
    octets: int
    digests: int


class VolumeFile(io.RawIOBase):
    """A file of a volume, read-only, that reads into the caller's memory."""

    def __init__(
        self, filesystem: VolumeFilesystem, attributes: Attributes, lock: threading.Lock
    ) -> None:
        """Begin at the start of the file."""
        super().__init__()
        self._filesystem = filesystem
        self._attributes = attributes
        self._lock = lock
        self._position = 0

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._attributes.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def pread_into(self, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; return how many bytes there were.

        Raises:
            TamperedError: The data was changed; the buffer holds nothing usable.
        """
        view = memoryview(buffer).cast("B")
        with self._lock:
            return self._filesystem.read_into(self._attributes.ino, offset, view)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill `buffer` from the current position."""
        count = self.pread_into(buffer, self._position)
        self._position += count
        return count

    def readall(self) -> bytes:
        """Return everything from the current position on."""
        buffer = bytearray(max(0, self.size - self._position))
        count = self.readinto(buffer)
        return bytes(memoryview(buffer)[:count])

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(22, "negative seek position")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position


class VolumeReader:
    """A volume opened for reading in this process."""

    def __init__(
        self,
        directory: Path,
        volume_key: KeyRing | bytes,
        *,
        anchor: Anchor,
        regions: Regions = ENCRYPTED_ONLY,
    ) -> None:
        """Open the state that the anchor names; see `opening.open_volume`, also for what it raises.

        Without regions, a volume that has other files than encrypted ones is refused.
        """
        self._filesystem = open_volume(
            directory, volume_key, anchor=anchor, writable=False, regions=regions
        )
        self._lock = threading.Lock()

    @property
    def filesystem(self) -> VolumeFilesystem:
        """The volume as a file system; not while another thread uses this reader."""
        return self._filesystem

    @property
    def identity(self) -> VolumeIdentity:
        """Volume, version and root."""
        return self._filesystem.identity

    def open(self, path: str) -> VolumeFile:
        """Open a regular file by its path from the root; links are not followed.

        Raises:
            OSError: ENOENT, ENOTDIR or EISDIR, as for any file.
        """
        found = self._filesystem.attributes(ROOT_INO)
        for name in path.strip("/").split("/"):
            found = self._filesystem.lookup(found.ino, os.fsencode(name))
        if not stat.S_ISREG(found.mode):
            raise OSError(21, f"not a regular file: {path}")
        return VolumeFile(self._filesystem, found, self._lock)

    def list(self) -> Iterator[ListedFile]:
        """Return everything in the volume, each directory before what is in it."""
        return walk(self._filesystem)

    def verify(self, *, progress: ProgressReport) -> VerifyReport:
        """Read and authenticate everything; see `verify_tree`."""
        with self._lock:
            return verify_tree(self._filesystem, progress=progress)

    def close(self) -> None:
        """Give everything back."""
        self._filesystem.close()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def read_file(filesystem: VolumeFilesystem, name: str, *, most: int) -> bytes | None:
    """Return a file at the top of a volume, of at most `most` bytes and one more; None for none."""
    try:
        found = filesystem.lookup(ROOT_INO, os.fsencode(name))
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.mode):
        return None
    with VolumeFile(filesystem, found, threading.Lock()) as file:
        data = bytearray(min(file.size, most + 1))
        return bytes(data[: file.pread_into(data, 0)])


def walk(filesystem: VolumeFilesystem) -> Iterator[ListedFile]:
    """Return every name below the root, sorted within each directory."""
    waiting = [("", ROOT_INO)]
    while waiting:
        prefix, ino = waiting.pop()
        entries = sorted(filesystem.list_directory(ino), key=lambda entry: entry.name)
        below = []
        for entry in entries:
            path = prefix + os.fsdecode(entry.name)
            link = stat.S_ISLNK(entry.mode)
            target = os.fsdecode(filesystem.readlink(entry.ino)) if link else ""
            protection = filesystem.protection(entry.ino)
            yield ListedFile(path, filesystem.attributes(entry.ino), target, protection)
            if stat.S_ISDIR(entry.mode):
                below.append((path + "/", entry.ino))
        waiting += reversed(below)


def verify_tree(filesystem: VolumeFilesystem, *, progress: ProgressReport) -> VerifyReport:
    """Read every byte, which authenticates it, and compare sealed files with their digests.

    Opening the volume has already authenticated the index. The digests matter where somebody who
    holds the key is not trusted: tags alone do not stop *her* from having made two versions.

    Raises:
        TamperedError: The first file that is not what was sealed; `detail` names it.
    """
    done = Progress()
    digests = 0
    buffer = memoryview(bytearray(_PIECE_BYTES))
    seen: set[int] = set()
    for listed in walk(filesystem):
        found = listed.attributes
        if not stat.S_ISREG(found.mode) or found.ino in seen:
            continue
        seen.add(found.ino)
        expected = filesystem.digest(found.ino)
        hasher = hashlib.sha256()
        offset = 0
        while count := filesystem.read_into(found.ino, offset, buffer):
            if expected:
                hasher.update(buffer[:count])
            offset += count
            done.octets += count
            progress(done)
        if expected and hasher.digest() != expected:
            raise TamperedError(
                "a file is not what was sealed", code="volume.tampered", detail=listed.path
            )
        digests += bool(expected)
        done.files += 1
    progress(done)
    return VerifyReport(filesystem.identity, done.files, done.octets, digests)
