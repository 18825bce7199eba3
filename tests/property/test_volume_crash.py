"""A crash at any moment leaves a volume that opens at the last anchored state or a later one.

Every prefix of what was asked of the host is tried, with unsynced writes kept, lost, torn, mixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from cloister.errors import CloisterError, UnavailableError
from cloister.testing.anchor import AnchorHolder, MemoryAnchor
from cloister.testing.store import Event, EventKind, MemoryStore, replay
from cloister.testing.volume import VolumeBench, get, put, truncate
from cloister.volume import commit, rekey
from cloister.volume.anchor import AnchorState
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.tree import VolumeFilesystem

State = dict[bytes, bytes]
# Some of what the scripts write is readable for the host, and as safe from a crash.
REGIONS = Regions(
    dict.fromkeys(
        ("/a", "/model", "/model.new", "/large", "/f1", "/gone1"), RegionClass.AUTHENTICATED
    )
)


class MarkingAnchor(MemoryAnchor):
    """Notes among the store's events when the anchor moves."""

    def __init__(self, holder: AnchorHolder, store: MemoryStore, *, epoch: int) -> None:
        super().__init__(holder, epoch=epoch)
        self.store = store

    def advance(
        self, *, version: int, root: bytes, new_version: int, new_root: bytes, oldest_key: int = 1
    ) -> None:
        before = self.holder.current
        try:
            super().advance(
                version=version,
                root=root,
                new_version=new_version,
                new_root=new_root,
                oldest_key=oldest_key,
            )
        finally:
            if self.holder.current != before:
                self.store.mark(self.holder.current)


class Recording:
    """A volume, what was asked of its host, and its state at each version."""

    def __init__(self, run: Callable[[VolumeFilesystem, Recording], None]) -> None:
        self.bench = VolumeBench(regions=REGIONS)
        self.bench.create()
        self.start = self.bench.store.copy()
        self.first = self.bench.holder.current
        self.states: dict[int, State] = {1: {}}
        self.bench.store.recording = True
        self.bench.holder.lease += 1
        self.anchor = MarkingAnchor(self.bench.holder, self.bench.store, epoch=1)
        self.fs = self.bench.writer(self.anchor)
        run(self.fs, self)
        self.events = list(self.bench.store.events)

    def state(self) -> State:
        return state_of(self.fs)

    def reopen(self) -> None:
        """Open for writing again, under the same lease."""
        self.fs = self.bench.writer(self.anchor)

    def commit(self) -> None:
        """Commit, having noted what the tree is."""
        before = self.state()
        self.states[self.bench.holder.current.version + 1] = before
        self.fs.fsync(ROOT_INO)
        assert self.bench.holder.current.version in self.states

    def crash(self, count: int, keeps: Callable[[int, Event], int]) -> None:
        """Crash after `count` events, open, and compare."""
        events = self.events[:count]
        anchored = self.first
        for event in events:
            if isinstance(event.mark, AnchorState):
                anchored = event.mark
        holder = AnchorHolder(current=anchored, lease=anchored.epoch)
        store = replay(self.start, events, keeps=keeps)
        bench = VolumeBench(
            key=self.bench.key,
            store=store,
            holder=holder,
            later_keys=self.bench.later_keys,
            regions=REGIONS,
        )
        reader = bench.reader()
        assert state_of(reader) == self.states[anchored.version]
        reader.close()
        fs = bench.writer()
        version = holder.current.version
        assert version >= anchored.version
        assert state_of(fs) == self.states[version]
        put(fs, b"after", b"A" * 3000)
        fs.close()
        fs = bench.writer()
        assert state_of(fs) == self.states[version] | {b"after": b"A" * 3000}
        fs.close()


def state_of(fs: VolumeFilesystem) -> State:
    return {entry.name: get(fs, entry.name) for entry in fs.list_directory(ROOT_INO)}


def small_commits(fs: VolumeFilesystem, recording: Recording) -> None:
    """Small files, growing, cut, replaced and removed."""
    put(fs, b"a", b"1" * 100)
    recording.commit()
    put(fs, b"a", b"2" * 3000)
    put(fs, b"b", b"3" * 400)
    recording.commit()
    put(fs, b"a", b"4" * 200)
    recording.commit()
    fs.unlink(ROOT_INO, b"b")
    truncate(fs, fs.lookup(ROOT_INO, b"a").ino, 2000)
    recording.commit()
    put(fs, b"c", b"5" * 20_000)
    recording.commit()


def checkpoints(fs: VolumeFilesystem, recording: Recording) -> None:
    """A training script's: write beside, sync, rename over."""
    for number in range(5):
        put(fs, b"model.new", bytes([65 + number]) * (9000 + 700 * number))
        recording.commit()
        fs.rename(ROOT_INO, b"model.new", ROOT_INO, b"model", no_replace=False)
        recording.commit()


def overwrites(fs: VolumeFilesystem, recording: Recording) -> None:
    """A data base's: blocks of a large file in place, some sealed before the commit."""
    ino = put(fs, b"db", b"0" * 30_000)
    recording.commit()
    for number in range(6):
        for offset in (number * 3000, 512 * number, 20_000):
            fs.write(ino, offset, memoryview(bytes([97 + number]) * 1500))
            fs._contents.flush(everything=True)
        recording.commit()


def rotations(fs: VolumeFilesystem, recording: Recording) -> None:
    """Enough commits that the journal begins new segments."""
    for number in range(16):
        put(fs, b"f%d" % (number % 3), bytes([65 + number]) * 900)
        recording.commit()
    segments = {e.path for e in recording.bench.store.events if e.kind is EventKind.CREATE}
    assert len([path for path in segments if path.startswith("journal/")]) >= 2


def anchor_trouble(fs: VolumeFilesystem, recording: Recording) -> None:
    """The anchor is away for a while, or its reply is lost; the program goes on writing."""
    anchor = recording.anchor
    ino = put(fs, b"f", b"0" * 6000)
    recording.commit()
    for number in range(3):
        anchor.down, anchor.lose_reply = number % 2 == 0, number % 2 == 1
        fs.write(ino, 1000 * number, memoryview(bytes([65 + number]) * 2000))
        put(fs, b"gone%d" % number, b"x" * 2000)
        recording.states[recording.bench.holder.current.version + 1] = recording.state()
        with pytest.raises(UnavailableError):
            fs.fsync(ino)
        for again in range(3):
            fs.write(ino, 500 * again, memoryview(bytes([97 + again]) * 2000))
            fs._contents.flush(everything=True)
        fs.unlink(ROOT_INO, b"gone%d" % number)
        anchor.down = False
        waiting = 2 - (number % 2)
        recording.states[recording.bench.holder.current.version + waiting] = recording.state()
        fs.fsync(ino)


def rekeying(fs: VolumeFilesystem, recording: Recording) -> None:
    """The key is changed twice; what was there is sealed again, in many commits."""
    put(fs, b"small", b"1" * 400)
    put(fs, b"large", b"2" * 20_000)
    recording.commit()
    fs.close()
    recording.bench.rotate()
    recording.reopen()
    put(recording.fs, b"between", b"3" * 3000)
    recording.commit()
    recording.fs.close()
    recording.bench.rotate()
    recording.reopen()
    same, first = recording.state(), recording.bench.holder.current.version
    recording.fs.rekeying().run(progress=lambda _: None)
    last = recording.bench.holder.current.version
    assert last > first + 3
    assert recording.bench.holder.oldest_key == 3
    recording.states |= dict.fromkeys(range(first, last + 1), same)


SCRIPTS = [anchor_trouble, small_commits, checkpoints, overwrites, rotations, rekeying]


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.__name__)
def recording(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """One recorded script; segments are short, so that rotation is part of it."""
    monkeypatch.setattr(commit, "_ROTATE_BYTES", 600)
    monkeypatch.setattr(rekey, "COMMIT_BYTES", 4096)
    return Recording(request.param)


def mixed(seed: int) -> Callable[[int, Event], int]:
    """Keep, lose or tear each unsynced event, by a fixed rule that looks random."""

    def keeps(number: int, event: Event) -> int:
        digest = hashlib.sha256(b"%d/%d" % (seed, number)).digest()
        if event.kind is not EventKind.WRITE:
            return digest[0] % 2
        return [0, len(event.data), len(event.data) * digest[1] // 256][digest[0] % 3]

    return keeps


def everything(_: int, event: Event) -> int:
    return max(1, len(event.data))


def nothing(_: int, event: Event) -> int:
    return 0


@pytest.mark.spec("VOL-60", "VOL-61")
@pytest.mark.parametrize("keeps", [everything, nothing], ids=["kept", "lost"])
def test_every_prefix_opens(recording: Recording, keeps: Callable[[int, Event], int]) -> None:
    """After any prefix the volume opens at the anchored state or later, and goes on working."""
    for count in range(len(recording.events) + 1):
        recording.crash(count, keeps)


@pytest.mark.spec("VOL-62")
def test_every_torn_write_opens(recording: Recording) -> None:
    """The last write may have reached the disk in part only."""
    for count, event in enumerate(recording.events, start=1):
        if event.kind is EventKind.WRITE:
            for part in (len(event.data) // 2, len(event.data) - 1):
                recording.crash(
                    count, lambda n, e, c=count, p=part: p if n == c - 1 else everything(n, e)
                )


@pytest.mark.spec("VOL-61", "VOL-62")
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_every_mixture_opens(recording: Recording, seed: int) -> None:
    """Unsynced writes may be kept, lost and torn in any mixture."""
    for count in range(len(recording.events) + 1):
        recording.crash(count, mixed(seed))


@pytest.mark.slow
def test_power_fails_after_a_process_was_killed(recording: Recording) -> None:
    """What a dead writer left in the host's memory only is not anchored by the next as it is."""
    for count in range(0, len(recording.events) + 1, 3):
        events = recording.events[:count]
        anchored = recording.first
        for event in events:
            if isinstance(event.mark, AnchorState):
                anchored = event.mark
        killed = replay(recording.start, events, keeps=everything)
        killed.recording = True
        holder = AnchorHolder(current=anchored, lease=anchored.epoch + 1)
        bench = VolumeBench(
            key=recording.bench.key,
            store=killed,
            holder=holder,
            later_keys=recording.bench.later_keys,
            regions=REGIONS,
        )
        bench.writer(MarkingAnchor(holder, killed, epoch=holder.lease))
        together = Recording.__new__(Recording)
        together.bench, together.start = recording.bench, recording.start
        together.first, together.states = recording.first, recording.states
        together.events = events + killed.events
        for last in range(count, len(together.events) + 1):
            together.crash(last, nothing)
            together.crash(last, mixed(last))


def test_a_lost_commit_order_would_be_noticed() -> None:
    """The test itself sees a volume that anchors before its data is durable."""
    recording = Recording(small_commits)
    recording.events = [e for e in recording.events if e.kind is not EventKind.SYNC]
    failed = 0
    for count in range(len(recording.events) + 1):
        try:
            recording.crash(count, nothing)
        except (CloisterError, AssertionError):
            failed += 1
    assert failed
