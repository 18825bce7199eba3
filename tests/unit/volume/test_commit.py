"""Commits that fail half way: full disk, failing storage, an anchor that does not answer."""

from __future__ import annotations

import os

import pytest

from cloister.errors import (
    CallerError,
    CloisterError,
    ReleaseDeniedError,
    StorageFullError,
    UnavailableError,
)
from cloister.testing.anchor import MemoryAnchor
from cloister.testing.store import Event, EventKind
from cloister.testing.volume import VolumeBench, get, put, truncate
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.recovery import recover
from cloister.volume.tree import VolumeFilesystem

MIB = 2**20


@pytest.fixture
def bench() -> VolumeBench:
    bench = VolumeBench(block_bytes=65536)
    bench.create()
    return bench


@pytest.fixture
def anchor(bench: VolumeBench) -> MemoryAnchor:
    return bench.holder.acquire()


@pytest.fixture
def fs(bench: VolumeBench, anchor: MemoryAnchor) -> VolumeFilesystem:
    return bench.writer(anchor)


def names(fs: VolumeFilesystem) -> set[bytes]:
    return {entry.name for entry in fs.list_directory(ROOT_INO)}


def test_write_on_a_full_disk(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A full disk refuses further writes, keeps what was committed, and accepts again later."""
    kept = os.urandom(3 * MIB)
    put(fs, b"kept", kept)
    fs.fsync(ROOT_INO)
    bench.store.quota = bench.store.used() + 6 * MIB
    ino = fs.create(ROOT_INO, b"big", 0o644, 0, 0).ino
    data = memoryview(os.urandom(MIB))
    written = fill(fs, ino, data)
    assert 0 < written <= 6 * MIB
    fs.fsync(ino)
    assert get(fs, b"kept") == kept
    assert get(fs, b"big") == bytes(data) * (written // MIB)
    fs.unlink(ROOT_INO, b"big")
    fs.fsync(ROOT_INO)
    fs.fsync(ROOT_INO)
    put(fs, b"after", b"a" * MIB)
    fs.close()
    fs = bench.writer()
    assert names(fs) == {b"kept", b"after"}
    assert get(fs, b"kept") == kept


def fill(fs: VolumeFilesystem, ino: int, data: memoryview) -> int:
    """Write until the disk is full; return how much was accepted."""
    written = 0
    while True:
        try:
            written += fs.write(ino, written, data)
        except StorageFullError as e:
            assert e.code == "storage.full"  # noqa: PT017  # the loop is the point
            return written


def test_removing_works_on_a_full_disk(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """With no byte left, a file can still be removed, and that gives its space back."""
    for number in range(4):
        put(fs, b"f%d" % number, os.urandom(2 * MIB))
    fs.fsync(ROOT_INO)
    bench.store.quota = bench.store.used()
    fs.unlink(ROOT_INO, b"f0")
    fs.fsync(ROOT_INO)
    assert bench.store.used() < bench.store.quota - MIB
    fs.close()
    assert names(bench.writer()) == {b"f1", b"f2", b"f3"}


def test_commit_on_a_full_disk_can_be_repeated(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A commit that does not fit changes nothing on disk or in memory, and works later."""
    ino = put(fs, b"f", b"1" * 200_000)
    fs.fsync(ino)
    committed = bench.holder.current
    fs.write(ino, 0, memoryview(b"2" * 100_000))
    fs._committer._drop_reserve()
    bench.store.quota = bench.store.used()
    for _ in range(3):
        with pytest.raises(StorageFullError) as caught:
            fs.fsync(ino)
        assert caught.value.code == "storage.full"
        assert get(fs, b"f") == b"2" * 100_000 + b"1" * 100_000
    assert bench.holder.current == committed
    with pytest.raises(StorageFullError):
        fs.create(ROOT_INO, b"another", 0o644, 0, 0)
    other = VolumeBench(
        block_bytes=65536, key=bench.key, store=bench.store.copy(), holder=bench.holder
    )
    assert get(other.reader(), b"f") == b"1" * 200_000
    bench.store.quota = 2**40
    fs.fsync(ino)
    fs.close()
    assert get(bench.writer(), b"f") == b"2" * 100_000 + b"1" * 100_000


def test_every_quota_leaves_a_volume_that_opens(bench: VolumeBench) -> None:
    """Wherever the disk becomes full, the last committed state opens and is complete."""
    for room in range(0, 1_200_000, 45_000):
        trial = VolumeBench(block_bytes=65536)
        trial.create()
        fs = trial.writer()
        put(fs, b"base", b"b" * 100_000)
        fs.fsync(ROOT_INO)
        fs._committer._drop_reserve()
        trial.store.quota = trial.store.used() + room
        fs._committer._credit = 2**40
        try:
            for number in range(5):
                ino = put(fs, b"n%d" % number, bytes([number]) * 150_000)
                truncate(fs, ino, 120_000)
                fs.rename(ROOT_INO, b"n%d" % number, ROOT_INO, b"last", no_replace=False)
                fs.fsync(ROOT_INO)
        except StorageFullError:
            pass
        trial.crash()
        trial.store.quota = 2**40
        fs = trial.writer()
        assert get(fs, b"base") == b"b" * 100_000
        for name in names(fs) - {b"base"}:
            assert len(get(fs, name)) == 120_000
        put(fs, b"more", b"m" * 200_000)
        fs.close()


def test_anchor_away(bench: VolumeBench, anchor: MemoryAnchor, fs: VolumeFilesystem) -> None:
    """While the anchor is away `fsync` fails, writing goes on, and later all is committed."""
    put(fs, b"f", b"1" * 200_000)
    anchor.down = True
    for number in range(3):
        with pytest.raises(UnavailableError) as caught:
            fs.fsync(ROOT_INO)
        assert caught.value.code == "volume.anchor"
        put(fs, b"f", bytes([65 + number]) * 200_000)
    anchor.down = False
    fs.fsync(ROOT_INO)
    assert get(bench_reader(bench), b"f") == b"C" * 200_000


def bench_reader(bench: VolumeBench) -> VolumeFilesystem:
    bench.crash()
    return bench.reader()


def test_tick_tries_again(
    bench: VolumeBench,
    anchor: MemoryAnchor,
    fs: VolumeFilesystem,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A timed commit that fails is logged and tried again with growing pauses."""
    put(fs, b"f", b"x")
    anchor.down = True
    pauses = []
    for _ in range(6):
        bench.clock.pass_s(10)
        pauses.append(fs.tick())
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 5
    anchor.down = False
    bench.clock.pass_s(10)
    fs.tick()
    assert bench.holder.current.version > 1
    assert get(bench_reader(bench), b"f") == b"x"
    assert "volume.anchor" in caplog.text


def test_lost_reply(bench: VolumeBench, anchor: MemoryAnchor, fs: VolumeFilesystem) -> None:
    """Where the anchor moved but its reply was lost, the next commit goes on from there."""
    put(fs, b"f", b"1")
    anchor.lose_reply = True
    with pytest.raises(UnavailableError):
        fs.fsync(ROOT_INO)
    put(fs, b"f", b"2")
    fs.fsync(ROOT_INO)
    assert get(bench_reader(bench), b"f") == b"2"


def test_failed_sync_ends_the_writer(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """After a failed sync nobody knows what is on disk: this writer stops, reopening recovers."""
    put(fs, b"f", b"1" * 5000)
    fs.fsync(ROOT_INO)
    put(fs, b"f", b"2" * 5000)

    def fail(event: Event) -> None:
        if event.kind is EventKind.SYNC:
            raise UnavailableError("the disk failed", code="volume.io")

    bench.store.before = fail
    with pytest.raises(UnavailableError) as caught:
        fs.fsync(ROOT_INO)
    assert caught.value.code == "volume.io"
    bench.store.before = None
    with pytest.raises(UnavailableError):
        fs.fsync(ROOT_INO)
    with pytest.raises(UnavailableError):
        fs.write(2, 0, memoryview(b"x"))
    bench.crash()
    assert get(bench.writer(), b"f") == b"1" * 5000


def test_close_gives_everything_back_when_it_fails(
    bench: VolumeBench, anchor: MemoryAnchor, fs: VolumeFilesystem
) -> None:
    """A close that cannot commit says so, and still releases the lock."""
    put(fs, b"f", b"x")
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.close()
    fs.close()
    assert get(bench.writer(), b"f") == b"x"


def test_fenced_writer_stays_fenced(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Once fenced, a writer never commits again; `tick` says so too."""
    put(fs, b"f", b"x")
    bench.holder.acquire()
    for _ in range(2):
        bench.clock.pass_s(10)
        with pytest.raises(ReleaseDeniedError) as caught:
            fs.tick()
        assert caught.value.code == "release.fenced"
    with pytest.raises(ReleaseDeniedError):
        fs.close()


def test_nothing_to_commit_asks_nobody(
    bench: VolumeBench, anchor: MemoryAnchor, fs: VolumeFilesystem
) -> None:
    """`fsync` of an unchanged volume neither writes nor asks the anchor."""
    anchor.down = True
    bench.store.recording = True
    fs.fsync(ROOT_INO)
    assert bench.store.events == []


def test_writing_without_a_lease(bench: VolumeBench) -> None:
    """Opening for writing with an anchor that has no lease is a mistake of the caller."""
    with pytest.raises(CallerError) as caught:
        bench.open(bench.holder.reader(), writable=True)
    assert caught.value.code == "caller.misuse"


def test_opening_while_the_anchor_is_away(bench: VolumeBench) -> None:
    """Without the anchor nothing is opened, and the lock is given back."""
    anchor = bench.holder.acquire()
    anchor.down = True
    with pytest.raises(CloisterError) as caught:
        bench.writer(anchor)
    assert caught.value.code == "volume.anchor"
    anchor.down = False
    bench.writer(anchor).close()


def test_journal_stays_short(bench: VolumeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many commits do not make the journal grow without bound."""
    monkeypatch.setattr("cloister.volume.commit._ROTATE_BYTES", 20_000)
    fs = bench.writer()
    for number in range(300):
        put(fs, b"f", b"%d" % number)
        fs.fsync(ROOT_INO)
    journal = sum(len(d) for p, d in bench.store.files.items() if p.startswith("journal/"))
    assert journal < 40_000
    fs.close()
    assert get(bench.writer(), b"f") == b"299"


def test_opening_reads_a_bounded_number_of_entries(
    bench: VolumeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a number of entries a full one starts a new segment, however small they are."""
    monkeypatch.setattr("cloister.volume.commit._ROTATE_ENTRIES", 10)
    fs = bench.writer()
    for number in range(95):
        put(fs, b"f", b"%d" % number)
        fs.fsync(ROOT_INO)
    fs.close()
    recovered = recover(bench.store, bench.key, bench.holder.reader(), writable=False)
    assert len(recovered.segment.frames) <= 10
    assert get(bench.writer(), b"f") == b"94"


def test_replaced_checkpoints_do_not_use_more_and_more_space(bench: VolumeBench) -> None:
    """Writing a checkpoint again and again takes the space of two, not of all."""
    fs = bench.writer()
    for number in range(12):
        put(fs, b"new", bytes([number]) * MIB)
        fs.fsync(ROOT_INO)
        fs.rename(ROOT_INO, b"new", ROOT_INO, b"model", no_replace=False)
        fs.fsync(ROOT_INO)
    assert bench.store.used() < 5 * MIB
    ino = fs.lookup(ROOT_INO, b"model").ino
    for number in range(12):
        fs.write(ino, 0, memoryview(bytes([number]) * MIB))
        fs.fsync(ino)
    assert bench.store.used() < 5 * MIB
