"""In which order a volume asks its host to make things durable."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import CloisterError, TamperedError, UnavailableError
from cloister.testing.anchor import AnchorHolder, MemoryAnchor
from cloister.testing.store import Event, EventKind, MemoryStore, replay
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume import commit
from cloister.volume.anchor import AnchorState
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.opening import create_store
from cloister.volume.seal import seal_store

KEY = bytes(range(32))
MOVED = "the anchor moved"


class WatchedAnchor(MemoryAnchor):
    """Notes among the store's events when it moves, and every question."""

    def __init__(self, holder: AnchorHolder, store: MemoryStore, *, epoch: int) -> None:
        super().__init__(holder, epoch=epoch)
        self.store = store
        self.asked: list[tuple[int, bytes, int, bytes]] = []

    def advance(
        self, *, version: int, root: bytes, new_version: int, new_root: bytes, oldest_key: int = 1
    ) -> None:
        self.asked.append((version, root, new_version, new_root))
        super().advance(
            version=version,
            root=root,
            new_version=new_version,
            new_root=new_root,
            oldest_key=oldest_key,
        )
        self.store.mark(MOVED)


def watched(bench: VolumeBench) -> WatchedAnchor:
    bench.holder.lease += 1
    return WatchedAnchor(bench.holder, bench.store, epoch=bench.holder.lease)


def positions(events: list[Event], kind: EventKind, prefix: str) -> list[int]:
    return [n for n, e in enumerate(events) if e.kind is kind and e.path.startswith(prefix)]


def require_durable(events: list[Event], prefix: str, *, before: int) -> None:
    """Every write and creation below `prefix` up to `before` was synced by then."""
    for n in positions(events[:before], EventKind.WRITE, prefix):
        synced = [m for m in positions(events, EventKind.SYNC, events[n].path) if n < m < before]
        assert synced, f"{events[n].path} was not durable"
    for n in positions(events[:before], EventKind.CREATE, prefix):
        folder = events[n].path.rpartition("/")[0]
        kept = positions(events, EventKind.SYNC_DIRECTORY, folder)
        assert [m for m in kept if n < m < before], f"the name {events[n].path} was not durable"


@pytest.mark.spec("VOL-38")
@pytest.mark.parametrize("sealed", [True, False])
def test_a_new_volume_is_written_from_its_data_to_its_superblock(
    *, sealed: bool, tmp_path: Path
) -> None:
    """Each is durable before the next begins; a crash before the end leaves no volume."""
    (tmp_path / "large").write_bytes(b"l" * 9000)
    (tmp_path / "small").write_bytes(b"s" * 1500)
    store = MemoryStore(recording=True)
    if sealed:
        made = seal_store(tmp_path, store, KEY, block_bytes=512, progress=lambda _: None)
    else:
        made = create_store(store, KEY, block_bytes=512, at_ns=1)
    events = store.events
    (journal,) = positions(events, EventKind.CREATE, "journal/")
    (superblock,) = positions(events, EventKind.CREATE, "superblock")
    assert not [n for n in positions(events, EventKind.WRITE, "objects/") if n > journal]
    assert len(positions(events, EventKind.WRITE, "objects/")) >= (2 if sealed else 0)
    for n in positions(events[:journal], EventKind.WRITE, "objects/"):
        assert [m for m in positions(events, EventKind.SYNC, events[n].path) if n < m < journal]
    require_durable(events, "objects/", before=superblock)
    require_durable(events, "journal/", before=superblock)
    holder = AnchorHolder(current=AnchorState(made.version, made.root, 0))
    for count in range(len(events) + 1):
        left = replay(MemoryStore(), events[:count], keeps=lambda _, e: max(1, len(e.data)))
        bench = VolumeBench(key=KEY, store=left, holder=holder)
        if len(left.files.get("superblock", b"")) == 64:
            fs = bench.reader()
            assert not sealed or get(fs, b"large") == b"l" * 9000
            fs.close()
        else:
            with pytest.raises(CloisterError) as caught:
                bench.reader()
            assert caught.value.code in {"volume.truncated", "volume.malformed"}


@pytest.mark.spec("VOL-39")
@pytest.mark.parametrize("rotate_bytes", [1, 2**20], ids=["full entry", "delta"])
def test_a_commit_is_data_then_entry_then_anchor(
    monkeypatch: pytest.MonkeyPatch, rotate_bytes: int
) -> None:
    """Each step is durable before the next; the state before stays till the anchor moved."""
    monkeypatch.setattr(commit, "_ROTATE_BYTES", rotate_bytes)
    bench = VolumeBench()
    bench.create()
    anchor = watched(bench)
    fs = bench.writer(anchor)
    put(fs, b"large", b"1" * 9000)
    fs.fsync(ROOT_INO)
    segments = 0
    for number in range(6):
        bench.store.events.clear()
        bench.store.recording = True
        before = {path: bytes(data) for path, data in bench.store.files.items()}
        put(fs, b"large", bytes([65 + number]) * 9000)
        put(fs, b"new%d" % number, bytes([97 + number]) * 7000)
        fs.fsync(ROOT_INO)
        events = bench.store.events
        (moved,) = [n for n, e in enumerate(events) if e.mark == MOVED]
        entries = positions(events, EventKind.WRITE, "journal/")
        assert len(entries) == 1
        segments += len(positions(events, EventKind.CREATE, "journal/"))
        assert positions(events, EventKind.WRITE, "objects/")
        require_durable(events, "objects/", before=entries[0])
        require_durable(events, "journal/", before=moved)
        removed = positions(events, EventKind.REMOVE, "")
        assert all(n > moved for n in removed if events[n].path in before)
        # The state before is whole on the disk until the anchor has moved.
        bench_before(bench, before, events[:moved], number)
    assert len(anchor.asked) == 7
    assert (segments > 0) == (rotate_bytes == 1)


def bench_before(
    bench: VolumeBench, files: dict[str, bytes], events: list[Event], number: int
) -> None:
    store = MemoryStore(files={path: bytearray(data) for path, data in files.items()})
    left = replay(store, events, keeps=lambda _, e: max(1, len(e.data)))
    holder = AnchorHolder(current=bench.holder.history[-2])
    fs = VolumeBench(key=bench.key, store=left, holder=holder).reader()
    assert get(fs, b"large") == bytes([64 + number if number else 49]) * 9000
    fs.close()


@pytest.mark.spec("VOL-39")
def test_an_unknown_outcome_is_asked_again_before_anything_else() -> None:
    """The same question, and no entry is written before it is answered."""
    bench = VolumeBench()
    bench.create()
    anchor = watched(bench)
    fs = bench.writer(anchor)
    put(fs, b"f", b"1")
    anchor.lose_reply = True
    with pytest.raises(UnavailableError):
        fs.fsync(ROOT_INO)
    put(fs, b"f", b"2")
    bench.store.recording = True
    bench.store.events.clear()
    fs.fsync(ROOT_INO)
    first, again, then = anchor.asked
    assert first == again
    assert then[:2] == first[2:]
    marks = [n for n, e in enumerate(bench.store.events) if e.mark == MOVED]
    assert marks[0] < positions(bench.store.events, EventKind.WRITE, "journal/")[0] < marks[1]


@pytest.mark.spec("VOL-45")
def test_a_writer_makes_durable_what_it_found_and_clears_the_rest() -> None:
    """The commit behind the head is synced, then anchored; other segments and objects go."""
    bench = VolumeBench()
    bench.create()
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    put(fs, b"late", b"l" * 3000)
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.fsync(ROOT_INO)
    bench.crash()
    (segment,) = (path for path in bench.store.files if path.startswith("journal/"))
    whole = len(bench.store.files[segment])
    bench.store.files[segment] += b"torn"
    bench.store.files["journal/00000000000000ff"] = bytearray(b"torn")
    bench.store.files[f"objects/ab/{'ab' * 16}"] = bytearray(512)
    bench.store.recording = True
    fs = bench.writer(watched(bench))
    events = bench.store.events
    (moved,) = [n for n, e in enumerate(events) if e.mark == MOVED]
    assert [n for n in positions(events, EventKind.SYNC, segment) if n < moved]
    assert [n for n in positions(events, EventKind.SYNC_DIRECTORY, "journal") if n < moved]
    assert [path for path in bench.store.files if path.startswith("journal/")] == [segment]
    assert len(bench.store.files[segment]) == whole
    assert f"objects/ab/{'ab' * 16}" not in bench.store.files
    assert get(fs, b"late") == b"l" * 3000
    fs.close()


@pytest.mark.spec("VOL-50")
def test_a_block_is_read_when_it_is_asked_for() -> None:
    """Damage to one block is found by whoever reads it, and by nobody else."""
    bench, path = _with_large_file()
    fs = bench.reader()
    ino = fs.lookup(ROOT_INO, b"large").ino
    bench.store.files[path][7 * 512] ^= 1
    out = bytearray(512)
    assert fs.read_into(ino, 0, memoryview(out)) == 512
    assert bytes(out) == b"l" * 512
    with pytest.raises(TamperedError) as caught:
        fs.read_into(ino, 7 * 512, memoryview(out))
    assert caught.value.code == "volume.tampered"


@pytest.mark.spec("VOL-50")
def test_what_is_opened_is_a_copy_of_what_the_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that changes the bytes as soon as they are handed over changes nothing."""
    bench, path = _with_large_file()
    fs = bench.reader()
    handle_type = type(bench.store.open(path))
    read_into = handle_type.read_into
    handed = []

    def change_afterwards(self: object, buffers: list[memoryview], offset: int) -> None:
        read_into(self, buffers, offset)
        for n in range(len(bench.store.files[path])):
            bench.store.files[path][n] ^= 0xFF
        handed.append(offset)

    monkeypatch.setattr(handle_type, "read_into", change_afterwards)
    out = bytearray(512)
    fs.read_into(fs.lookup(ROOT_INO, b"large").ino, 1024, memoryview(out))
    assert bytes(out) == b"l" * 512
    assert len(handed) == 1  # nothing is fetched a second time, between check and use


def _with_large_file() -> tuple[VolumeBench, str]:
    """Return a volume with one file of many blocks, without table pages, and its backing file."""
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    put(fs, b"large", b"l" * 512 * 10)
    fs.close()
    named = [p for p in bench.store.files if p.startswith("objects/") and "pack" not in p]
    (path,) = named
    return bench, path
