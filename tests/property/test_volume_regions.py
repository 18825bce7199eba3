"""No sequence of changes puts a file where the same regions would refuse it at the next opening."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloister.testing.volume import VolumeBench
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.placement import Placement
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.tree import VolumeFilesystem

NAMES = ["a", "b"]
NUMBERS = st.integers(0, 20)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
REFUSED = {
    errno.EXDEV, errno.EACCES, errno.EBUSY, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
    errno.ENOTEMPTY, errno.EINVAL, errno.EPERM,
}  # fmt: skip


@st.composite
def regions(draw: st.DrawFn) -> Regions:
    """Any regions over the few paths that there are."""
    found: dict[str, RegionClass] = {}
    stored = st.sampled_from([RegionClass.ENCRYPTED, RegionClass.AUTHENTICATED])
    if draw(st.booleans()):
        found["/"] = draw(stored)
    for parts in draw(st.sets(PATHS, min_size=1, max_size=4)):
        path = "/" + "/".join(parts)
        inside = [other for other in found if other.startswith(path + "/")]
        around = [other for other in found if path.startswith(other + "/")]
        if any(found[other] is RegionClass.PLAIN for other in around):
            continue
        kinds = [kind for kind in RegionClass if kind is not RegionClass.PLAIN or not inside]
        found[path] = draw(st.sampled_from(kinds))
    return Regions(found)


class RegionsUnderChange(RuleBasedStateMachine):
    """A small tree, changed at random; what is refused changes nothing that matters."""

    @initialize(chosen=regions())
    def begin(self, chosen: Regions) -> None:
        self.bench = VolumeBench(regions=chosen)
        self.bench.create()
        self.fs: VolumeFilesystem = self.bench.writer()

    def places(self) -> list[tuple[int, bytes]]:
        """Every folder and name that there is, oldest first."""
        found: list[tuple[int, bytes]] = []
        waiting = [ROOT_INO]
        while waiting:
            ino = waiting.pop()
            for entry in self.fs.list_directory(ino):
                found.append((ino, entry.name))
                if entry.mode == stat.S_IFDIR:
                    waiting.append(entry.ino)
        return found

    def there(self, number: int) -> tuple[int, bytes]:
        """Choose one of them."""
        places = self.places()
        return places[number % len(places)] if places else (ROOT_INO, b"a")

    def anywhere(self, number: int, name: str) -> tuple[int, bytes]:
        """Choose a folder that there is, and any name."""
        folders = [ROOT_INO]
        for parent, inner in self.places():
            found = self.fs.lookup(parent, inner)
            if stat.S_ISDIR(found.mode):
                folders.append(found.ino)
        return folders[number % len(folders)], name.encode()

    def attempt(self, change: Callable[[], object]) -> None:
        try:
            change()
        except OSError as e:
            if e.errno not in REFUSED:
                raise

    @rule(where=NUMBERS, name=st.sampled_from(NAMES), kind=st.sampled_from("fddl"))
    def make(self, where: int, name: str, kind: str) -> None:
        place = self.anywhere(where, name)
        if kind == "f":
            self.attempt(lambda: self.fs.create(*place, 0o600, 0, 0))
        elif kind == "d":
            self.attempt(lambda: self.fs.mkdir(*place, 0o700, 0, 0))
        else:
            self.attempt(lambda: self.fs.symlink(*place, b"a", 0, 0))

    @rule(which=NUMBERS)
    def remove(self, which: int) -> None:
        place = self.there(which)
        self.attempt(lambda: self.fs.rmdir(*place))
        self.attempt(lambda: self.fs.unlink(*place))

    @rule(which=NUMBERS, where=NUMBERS, name=st.sampled_from(NAMES))
    def rename(self, which: int, where: int, name: str) -> None:
        old, new = self.there(which), self.anywhere(where, name)
        self.attempt(lambda: self.fs.rename(*old, *new, no_replace=False))

    @rule(which=NUMBERS, where=NUMBERS, name=st.sampled_from(NAMES))
    def link(self, which: int, where: int, name: str) -> None:
        old, new = self.there(which), self.anywhere(where, name)
        self.attempt(lambda: self.fs.link(self.fs.lookup(*old).ino, *new))

    @rule(which=NUMBERS, other=NUMBERS)
    def exchange(self, which: int, other: int) -> None:
        one, two = self.there(which), self.there(other)
        self.attempt(lambda: self.fs.exchange(*one, *two))

    @rule()
    def reopen(self) -> None:
        self.fs.close()
        self.fs = self.bench.writer()

    @invariant()
    def fits(self) -> None:
        if not hasattr(self, "fs"):
            return
        Placement(self.fs._index, self.bench.regions).check()
        waiting = [(ROOT_INO, "")]
        while waiting:
            ino, path = waiting.pop()
            for entry in self.fs.list_directory(ino):
                here = f"{path}/{entry.name.decode()}"
                found, said = self.fs.protection(entry.ino), self.bench.regions.of(here)
                assert found in {None, said}
                if entry.mode == stat.S_IFDIR:
                    waiting.append((entry.ino, here))
        for mounted, _ in self.bench.regions.mounted():
            ino = ROOT_INO
            for name in mounted[1:].split("/"):
                ino = self.fs.lookup(ino, name.encode()).ino
            assert self.fs.attributes(ino).mode & stat.S_IFDIR


TestRegionsUnderChange = RegionsUnderChange.TestCase
TestRegionsUnderChange.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
