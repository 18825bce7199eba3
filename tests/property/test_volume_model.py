"""The volume against a plain model of files in memory, with reopening at any moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cloister.testing.volume import VolumeBench, truncate
from cloister.volume import rekey
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.rekey import RekeyProgress

NAMES = st.sampled_from([b"a", b"b", b"c", b"d"])
# Two names that the host may read, and two that it may not.
REGIONS = Regions({"/c": RegionClass.AUTHENTICATED, "/d": RegionClass.AUTHENTICATED})
READABLE = {b"c", b"d"}
OFFSETS = st.one_of(
    st.integers(0, 2000), st.sampled_from([0, 511, 512, 513, 1024, 8192, 8704, 20_000, 150_000])
)
LENGTHS = st.one_of(st.integers(0, 1500), st.sampled_from([512, 1024, 4096, 9000, 30_000]))


MOST_KEYS = 8


def interruption(steps: int | None) -> Callable[[RekeyProgress], None]:
    """Return what raises at the given call."""
    calls = itertools.count(1)

    def progress(_: RekeyProgress) -> None:
        if next(calls) == steps:
            raise InterruptedError

    return progress


class VolumeAgainstModel(RuleBasedStateMachine):
    """Every operation is done twice: on the volume, and on dictionaries."""

    @initialize(block=st.sampled_from([512, 4096]))
    def begin(self, block: int) -> None:
        self.bench = VolumeBench(block_bytes=block, regions=REGIONS)
        self.bench.create()
        self.fs = self.bench.writer()
        self.files: dict[int, bytearray] = {}
        self.names: dict[bytes, int] = {}
        self.opened: set[int] = set()
        self.committed: dict[bytes, bytes] = {}
        self.fill = 0
        self.commit_bytes, rekey.COMMIT_BYTES = rekey.COMMIT_BYTES, 8192

    def teardown(self) -> None:
        if hasattr(self, "commit_bytes"):
            rekey.COMMIT_BYTES = self.commit_bytes

    def state(self) -> dict[bytes, bytes]:
        return {name: bytes(self.files[ino]) for name, ino in self.names.items()}

    def inode(self, name: bytes) -> int:
        if name not in self.names:
            ino = self.fs.create(ROOT_INO, name, 0o644, 0, 0).ino
            self.names[name] = ino
            self.files[ino] = bytearray()
        return self.names[name]

    def crosses(self, name: bytes, other: bytes, change: Callable[[], object]) -> bool:
        """Do it; tell whether it was refused, as it is where it would change a file's class."""
        if (name in READABLE) == (other in READABLE):
            change()
            return False
        with pytest.raises(OSError, match="cross-device"):
            change()
        return True

    @rule(name=NAMES, offset=OFFSETS, length=LENGTHS)
    def write(self, name: bytes, offset: int, length: int) -> None:
        ino = self.inode(name)
        self.fill = (self.fill + 1) % 251
        mark = 0x80 if name in READABLE else 0
        data = bytes((self.fill + i) % 127 + 1 | mark for i in range(64)) * (length // 64 + 1)
        data = data[:length]
        self.fs.write(ino, offset, memoryview(data))
        model = self.files[ino]
        if data:
            model += bytes(max(0, offset - len(model)))
            model[offset : offset + length] = data

    @rule(name=NAMES, size=OFFSETS)
    def resize(self, name: bytes, size: int) -> None:
        ino = self.inode(name)
        truncate(self.fs, ino, size)
        model = self.files[ino]
        del model[size:]
        model += bytes(size - len(model))

    @rule(name=NAMES, other=NAMES)
    def rename(self, name: bytes, other: bytes) -> None:
        self.inode(name)
        move = partial(self.fs.rename, ROOT_INO, name, ROOT_INO, other, no_replace=False)
        if self.crosses(name, other, move):
            return
        if self.names[name] != self.names.get(other):
            self.names[other] = self.names.pop(name)

    @rule(name=NAMES, other=NAMES)
    def exchange(self, name: bytes, other: bytes) -> None:
        self.inode(name)
        self.inode(other)
        swap = partial(self.fs.exchange, ROOT_INO, name, ROOT_INO, other)
        if self.crosses(name, other, swap):
            return
        self.names[name], self.names[other] = self.names[other], self.names[name]

    @rule(name=NAMES, other=NAMES)
    def link(self, name: bytes, other: bytes) -> None:
        if other not in self.names:
            ino = self.inode(name)
            link = partial(self.fs.link, ino, ROOT_INO, other)
            if name != other and not self.crosses(name, other, link):
                self.names[other] = ino

    @rule(name=NAMES)
    def unlink(self, name: bytes) -> None:
        if name in self.names:
            self.fs.unlink(ROOT_INO, name)
            del self.names[name]

    @rule(name=NAMES)
    def open(self, name: bytes) -> None:
        ino = self.inode(name)
        if ino not in self.opened:
            self.fs.open(ino)
            self.opened.add(ino)

    @rule()
    def release(self) -> None:
        if self.opened:
            self.fs.release(self.opened.pop())

    @rule()
    def pressure(self) -> None:
        """Seal without committing, as a full cache does."""
        self.fs._contents.flush(everything=True)

    @rule()
    def commit(self) -> None:
        self.fs.fsync(ROOT_INO)
        self.committed = self.state()

    @precondition(lambda self: self.bench.keys.epoch < MOST_KEYS)
    @rule()
    def rotate(self) -> None:
        """The writer that is open goes on under its key; the next one has a newer."""
        self.bench.rotate()

    @rule(steps=st.one_of(st.none(), st.integers(1, 40)), crash=st.booleans())
    def rekey(self, steps: int | None, *, crash: bool) -> None:
        """Move to the newest key that this writer has, to the end or not."""
        while self.opened:
            self.fs.release(self.opened.pop())
        self.commit()
        try:
            self.fs.rekeying().run(progress=interruption(steps))
        except InterruptedError:
            if crash:
                self.crash_and_open()
            return
        assert self.bench.holder.oldest_key == self.fs._committer.key_epoch
        self.bench.retire()
        self.close_and_open()

    @rule()
    def retire(self) -> None:
        """Destroy every key that the anchored state does without."""
        self.bench.retire()

    @rule()
    def close_and_open(self) -> None:
        self.fs.close()
        self.reopen(self.state())

    @rule()
    def crash_and_open(self) -> None:
        self.bench.crash()
        self.reopen(self.committed)

    def reopen(self, expected: dict[bytes, bytes]) -> None:
        self.fs = self.bench.writer()
        self.opened.clear()
        found = {e.name: e.ino for e in self.fs.list_directory(ROOT_INO)}
        assert set(found) == set(expected)
        self.names = found
        self.files = {ino: bytearray(expected[name]) for name, ino in found.items()}
        self.committed = expected
        objects = {p for p in self.bench.store.files if p.startswith("objects/")}
        assert len(objects) <= len(self.files) + 1
        self.host_reads()

    def host_reads(self) -> None:
        """The host finds every committed block of the readable files, and none of the others."""
        stored = b"".join(bytes(self.bench.store.files[path]) for path in self.bench.store.files)
        block = self.bench.block_bytes
        for name, content in self.committed.items():
            for start in range(0, len(content), block):
                part = content[start : start + block]
                if name in READABLE:
                    assert part in stored
                elif part.strip(b"\0")[:24].count(0) == 0 and len(part.strip(b"\0")) > 24:
                    assert part.strip(b"\0")[:24] not in stored

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "fs"):
            return
        for ino in set(self.names.values()) | self.opened:
            model = self.files[ino]
            assert self.fs.attributes(ino).size == len(model)
            out = bytearray(len(model) + 3)
            assert self.fs.read_into(ino, 0, memoryview(out)) == len(model)
            assert out[: len(model)] == model
        for name, ino in self.names.items():
            readable = self.fs.protection(ino) is RegionClass.AUTHENTICATED
            assert readable == (name in READABLE)
            found = self.fs.lookup(ROOT_INO, name)
            assert found.ino == ino
            assert found.nlink == list(self.names.values()).count(ino)


TestVolumeAgainstModel = VolumeAgainstModel.TestCase
TestVolumeAgainstModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
