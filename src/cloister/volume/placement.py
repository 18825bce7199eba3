"""Where the regions lie in a volume's tree, and that no file is, or comes to be, in the wrong one.

Invariants, where the regions are enforced:
    1. A volume opens only if every name of every file is in a region of the file's own class, and
       nothing but folders lies in a region that is mounted over.
    2. A file's class is decided when it is made, by its path, and never changes.
    3. No name moves to where another class holds, nor a folder at or below which one begins.
    4. No link stands where a region or a folder above one belongs: it would lead elsewhere.

So what a policy says of a path is what happens there, and nothing is ever written weaker. The
regions are the owner's word; the index is authentic, and was written by whoever had the key.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from cloister.errors import AppraisalError
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.index import Index, Inode
from cloister.volume.regions import Region, RegionClass, Regions

__all__ = ["Placement"]


class Placement:
    """The regions of one open volume, by its folders."""

    def __init__(self, index: Index, regions: Regions) -> None:
        """Look at nothing yet."""
        self._index = index
        self._regions = regions
        self._folders: dict[int, Region] = {ROOT_INO: regions.root}

    def check(self) -> None:
        """Refuse a volume that has a file in a region of another class.

        Raises:
            AppraisalError: Code `volume.region`. The path, which the host may not know, is in
                `detail` alone.
        """
        if not self._regions.enforced:
            return
        root = self._regions.root
        self._require_folders()
        if not root.children:
            authenticated = root.region_class is RegionClass.AUTHENTICATED
            for inode in self._index.inodes.values():
                if inode.authenticated != authenticated:
                    _require_class(inode, root, b"")
            return
        waiting = [(self._index.inodes[ROOT_INO], root, b"")]
        while waiting:
            folder, region, path = waiting.pop()
            for name, ino in folder.entries.items():
                inode, here = self._index.inodes[ino], region.below(name)
                where = path + b"/" + name
                if inode.is_directory:
                    waiting.append((inode, here, where))
                else:
                    _require_class(inode, here, where)

    def prepare(self, clock_ns: Callable[[], int]) -> None:
        """Find the folders of the regions, and make those that something is mounted on.

        In a volume that is read only they are in memory, and never stored.
        """
        self._find(self._index.inodes[ROOT_INO], self._regions.root)
        for path, _ in self._regions.mounted():
            folder = self._index.inodes[ROOT_INO]
            for name in os.fsencode(path).split(b"/")[1:]:
                ino = folder.entries.get(name)
                inner = None if ino is None else self._index.inodes[ino]
                if inner is None:
                    inner = self._index.add(stat.S_IFDIR | 0o755, at_ns=clock_ns())
                    self._index.put_name(folder, name, inner)
                    self.added(folder, name, inner)
                folder = inner

    def is_authenticated(self, folder: Inode, name: bytes, *, mode: int) -> bool:
        """Decide the class of what is about to be made; False for all but files.

        Raises:
            OSError: EACCES: what is made in that region does not lie in the volume; or it is a
                link in a region's place.
        """
        found = self._region(folder, name)
        if not found.region_class.is_stored or (stat.S_ISLNK(mode) and found.named):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return found.region_class is RegionClass.AUTHENTICATED and stat.S_ISREG(mode)

    def require_place(self, inode: Inode, folder: Inode, name: bytes) -> None:
        """Allow another name of a file, or of a symbolic link, where its own class holds.

        Raises:
            OSError: EXDEV, upon which tools copy.
        """
        if not self._regions.enforced:
            return
        found = self._region(folder, name)
        if inode.is_file:
            fits = found.region_class is _class_of(inode)
        else:
            fits = found.region_class.is_stored and not found.named
        if not fits:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def require_move(
        self, inode: Inode, folder: Inode, name: bytes, to: Inode, to_name: bytes
    ) -> None:
        """Allow a name to move to where nothing changes for it nor for what lies below it.

        Raises:
            OSError: EXDEV, upon which tools copy.
        """
        if not inode.is_directory:
            self.require_place(inode, to, to_name)
            return
        if not self._regions.enforced:
            return
        before, after = self._region(folder, name), self._region(to, to_name)
        if before.named or after.named or before.region_class is not after.region_class:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def require_removable(self, inode: Inode) -> None:
        """Keep the folders that something is mounted on.

        Raises:
            OSError: EBUSY.
        """
        region = self._folders.get(inode.ino)
        above = self._folders.get(inode.parent)
        for found in (region, above if region is not None else None):
            if found is not None and not found.region_class.is_stored:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def added(self, folder: Inode, name: bytes, inode: Inode) -> None:
        """Take notice of a new folder."""
        region = self._folders.get(folder.ino)
        child = None if region is None else region.children.get(name)
        if child is not None and inode.is_directory:
            self._folders[inode.ino] = child

    def removed(self, inode: Inode) -> None:
        """Take notice that a folder is gone."""
        self._folders.pop(inode.ino, None)

    def _require_folders(self) -> None:
        """Refuse a file or a link where something is going to be mounted, or above that."""
        for path, found in self._regions.mounted():
            folder = self._index.inodes[ROOT_INO]
            for name in os.fsencode(path).split(b"/")[1:]:
                ino = folder.entries.get(name)
                if ino is None:
                    break
                folder = self._index.inodes[ino]
                if not folder.is_directory:
                    raise _mismatch("that is no folder", f"a folder is {found.value}", path)

    def _find(self, folder: Inode, region: Region) -> None:
        """Follow the paths of the regions as far as they are there; at most 32 times 32 steps."""
        for name, child in region.children.items():
            ino = folder.entries.get(name)
            inode = None if ino is None else self._index.inodes[ino]
            if inode is not None and inode.is_directory:
                self._folders[inode.ino] = child
                self._find(inode, child)

    def _region(self, folder: Inode, name: bytes) -> Region:
        """Return what holds for a name: that of the nearest folder above that a region names."""
        root = self._regions.root
        found = self._folders.get(folder.ino) if root.children else root
        if found is not None:
            return found.below(name)
        while found is None:
            above = self._index.inodes.get(folder.parent)
            if above is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            folder = above
            found = self._folders.get(folder.ino)
        return Region(found.region_class, named=False)


def _class_of(inode: Inode) -> RegionClass:
    return RegionClass.AUTHENTICATED if inode.authenticated else RegionClass.ENCRYPTED


def _require_class(inode: Inode, region: Region, where: bytes) -> None:
    wanted = region.region_class
    if inode.is_directory:
        return
    if not inode.is_file:
        if region.named or not wanted.is_stored:
            raise _mismatch("that is a link", f"a place is {wanted.value}", os.fsdecode(where))
        return
    found = _class_of(inode)
    if found is not wanted:
        raise _mismatch(found.value, wanted.value, os.fsdecode(where) or f"inode {inode.ino}")


def _mismatch(found: str, wanted: str, where: str) -> AppraisalError:
    return AppraisalError(
        f"the volume holds something {found} where the policy says {wanted}",
        code="volume.region",
        rule="regions",
        expected=wanted,
        found=found,
        detail=where,
        hint="cloister volume ls shows each file's class; copy what is to change it",
    )
