"""Import a directory into a sealed volume, once; and write a volume's tree out as plain files.

Memory does not grow with the size of files, only with their number. Owners, hard links and
extended attributes of the source are not kept: they say something about the sealing machine, not
about the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.errors import ConfigError
from cloister.volume.content.contents import Contents
from cloister.volume.content.shared import PACK_PATH
from cloister.volume.filesystem import ROOT_INO, Filesystem
from cloister.volume.format import MAX_TARGET_BYTES, VolumeIdentity, VolumeKind
from cloister.volume.index import Index, Inode
from cloister.volume.keys import VolumeKeys, make_superblock
from cloister.volume.opening import BLOCK_BYTES, new_directory, open_contents, write_new_volume
from cloister.volume.placement import Placement
from cloister.volume.regions import ENCRYPTED_ONLY, Regions
from cloister.volume.store import Store

__all__ = ["Progress", "ProgressReport", "extract_tree", "seal_store", "seal_tree"]

_VOLUME_ID_BYTES: Final = 16
_COPY_BYTES: Final = 2**20


@dataclass(slots=True)
class Progress:
    """How far a long operation is."""

    files: int = 0
    octets: int = 0


ProgressReport = Callable[[Progress], None]


def seal_tree(
    source: Path,
    directory: Path,
    volume_key: bytes,
    *,
    progress: ProgressReport,
    regions: Regions = ENCRYPTED_ONLY,
) -> VolumeIdentity:
    """Make a sealed volume of everything below `source`.

    The caller registers the identity with the volume's anchor, or pins it. Files that change while
    they are read are sealed as they were read.

    Args:
        source: A directory. Regular files, directories and symbolic links are taken; links are
            kept as links and never followed.
        directory: Where the volume goes; missing or empty.
        volume_key: 32 secret bytes, fresh for this volume.
        progress: Called after each piece.
        regions: Which class each path gets; where none are given, all of it is encrypted.

    Raises:
        ConfigError: `source` is no directory, cannot be read, or holds a device, pipe or socket;
            or `directory` is taken; or a file lies in a plain or an ephemeral region.
        AppraisalError: Code `volume.region`: a file is where such a region has its folder.
        StorageFullError: The disk is full.

    Whatever it ends with instead of a volume, an interruption too, leaves `directory` as it was.
    """
    if not source.is_dir():
        raise ConfigError(f"not a directory: {source}", code="config.value")
    existed = directory.exists()
    store = new_directory(directory)
    try:
        return seal_store(
            source, store, volume_key, block_bytes=BLOCK_BYTES, progress=progress, regions=regions
        )
    except BaseException:
        _remove_begun(directory, itself=not existed)
        raise


def _remove_begun(directory: Path, *, itself: bool) -> None:
    """Remove what was put into a directory that was empty; it is no volume yet."""
    for begun in directory.iterdir():
        if begun.is_dir() and not begun.is_symlink():
            shutil.rmtree(begun, ignore_errors=True)
        else:
            begun.unlink(missing_ok=True)
    if itself:
        with contextlib.suppress(OSError):
            directory.rmdir()


def seal_store(
    source: Path,
    store: Store,
    volume_key: bytes,
    *,
    block_bytes: int,
    progress: ProgressReport,
    regions: Regions = ENCRYPTED_ONLY,
) -> VolumeIdentity:
    """Make a sealed volume in an empty store; see `seal_tree`."""
    superblock = make_superblock(
        volume_key,
        kind=VolumeKind.SEALED,
        block_bytes=block_bytes,
        volume_id=random_bytes(_VOLUME_ID_BYTES),
    )
    keys = VolumeKeys(volume_key, superblock)
    index = Index()
    store.create(PACK_PATH).close()
    contents = open_contents(store, keys, superblock, index)
    try:
        _Sealer(index, contents, Placement(index, regions), progress).seal(source)
        contents.flush(everything=True)
        contents.sync()
    finally:
        contents.close()
    return write_new_volume(store, keys, superblock, index)


class _Sealer:
    def __init__(
        self, index: Index, contents: Contents, placement: Placement, progress: ProgressReport
    ) -> None:
        self._index = index
        self._contents = contents
        self._placement = placement
        self._report = progress
        self._progress = Progress()
        self._buffer = memoryview(bytearray(_COPY_BYTES))

    def seal(self, source: Path) -> None:
        status = self._status(source)
        self._index.make_root(mode=status.st_mode, at_ns=status.st_mtime_ns)
        waiting = [(source, self._index.inodes[ROOT_INO])]
        while waiting:
            path, directory = waiting.pop()
            try:
                names = sorted(os.listdir(os.fsencode(path)))  # noqa: PTH208 - bytes wanted
            except OSError as e:
                raise _unreadable(path, e) from e
            for name in names:
                child = path / os.fsdecode(name)
                inode = self._add(child, directory, name)
                if inode.is_directory:
                    waiting.append((child, inode))
        self._placement.check()
        self._placement.prepare(lambda: status.st_mtime_ns)
        self._report(self._progress)

    def _add(self, path: Path, directory: Inode, name: bytes) -> Inode:
        status = self._status(path)
        if stat.S_IFMT(status.st_mode) not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            raise ConfigError(
                f"neither file, directory nor symbolic link: {path}",
                code="config.value",
                hint="move it elsewhere before sealing",
            )
        inode = self._index.add(status.st_mode, at_ns=status.st_mtime_ns)
        if not inode.is_directory:
            inode.authenticated = self._is_authenticated(path, directory, name, status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            self._add_target(path, inode)
        elif inode.is_file:
            self._add_content(path, inode)
        self._index.put_name(directory, name, inode)
        self._placement.added(directory, name, inode)
        return inode

    def _is_authenticated(self, path: Path, directory: Inode, name: bytes, mode: int) -> bool:
        try:
            return self._placement.is_authenticated(directory, name, mode=mode)
        except OSError as e:
            raise ConfigError(
                f"where a region is that is no part of the volume, or a link in its place: {path}",
                code="config.value",
                hint="move it elsewhere before sealing",
            ) from e

    def _add_target(self, path: Path, inode: Inode) -> None:
        try:
            target = os.fsencode(path.readlink())
        except OSError as e:
            raise _unreadable(path, e) from e
        if not 0 < len(target) <= MAX_TARGET_BYTES:
            raise ConfigError(f"the link's target is too long: {path}", code="config.value")
        inode.inline, inode.size = target, len(target)

    def _add_content(self, path: Path, inode: Inode) -> None:
        hasher = hashlib.sha256()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            raise _unreadable(path, e) from e
        try:
            while count := _read(fd, self._buffer, path):
                part = self._buffer[:count]
                hasher.update(part)
                self._contents.write(inode, inode.size, part)
                self._progress.octets += count
                self._report(self._progress)
        finally:
            os.close(fd)
        inode.digest = hasher.digest()
        self._progress.files += 1

    def _status(self, path: Path) -> os.stat_result:
        try:
            return path.lstat()
        except OSError as e:
            raise _unreadable(path, e) from e


def extract_tree(filesystem: Filesystem, target: Path, *, progress: ProgressReport) -> None:
    """Write a volume's tree as plain files below `target`, which is missing or empty.

    Every byte is authenticated before it is written; an error leaves what was written so far.
    Modes and modification times are restored, owners are not.

    Raises:
        TamperedError: The volume's data was changed.
        ConfigError: Code `config.exists`: `target` holds something; or it cannot be written.
    """
    new_directory(target)
    _Extractor(filesystem, progress).extract(target)


class _Extractor:
    def __init__(self, filesystem: Filesystem, progress: ProgressReport) -> None:
        self._filesystem = filesystem
        self._report = progress
        self._progress = Progress()
        self._buffer = memoryview(bytearray(_COPY_BYTES))

    def extract(self, target: Path) -> None:
        waiting = [(target, ROOT_INO)]
        directories: list[tuple[Path, int]] = []
        while waiting:
            path, ino = waiting.pop()
            directories.append((path, ino))
            for entry in self._filesystem.list_directory(ino):
                child = path / os.fsdecode(entry.name)
                try:
                    self._write(child, entry.ino, entry.mode)
                except OSError as e:
                    raise ConfigError(
                        f"cannot write {child}: {e.strerror}", code="config.value"
                    ) from e
                if stat.S_ISDIR(entry.mode):
                    waiting.append((child, entry.ino))
        for path, ino in reversed(directories):
            self._finish(path, ino)
        self._report(self._progress)

    def _write(self, path: Path, ino: int, mode: int) -> None:
        if stat.S_ISDIR(mode):
            path.mkdir(mode=0o700)
        elif stat.S_ISLNK(mode):
            path.symlink_to(os.fsdecode(self._filesystem.readlink(ino)))
        else:
            self._write_file(path, ino)
            self._finish(path, ino)
            self._progress.files += 1

    def _write_file(self, path: Path, ino: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            offset = 0
            while count := self._filesystem.read_into(ino, offset, self._buffer):
                view = self._buffer[:count]
                while view:
                    view = view[os.write(fd, view) :]
                offset += count
                self._progress.octets += count
                self._report(self._progress)
        finally:
            os.close(fd)

    def _finish(self, path: Path, ino: int) -> None:
        found = self._filesystem.attributes(ino)
        path.chmod(stat.S_IMODE(found.mode) & ~(stat.S_ISUID | stat.S_ISGID))
        os.utime(path, ns=(found.atime_ns, found.mtime_ns))


def _read(fd: int, buffer: memoryview, path: Path) -> int:
    """Fill the buffer as far as the file goes, so that blocks are whole."""
    done = 0
    try:
        while done < len(buffer):
            got = os.readv(fd, [buffer[done:]])
            if not got:
                break
            done += got
    except OSError as e:
        raise _unreadable(path, e) from e
    return done


def _unreadable(path: Path, e: OSError) -> ConfigError:
    return ConfigError(f"cannot read {path}: {e.strerror}", code="config.value")
