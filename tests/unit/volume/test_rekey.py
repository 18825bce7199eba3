"""A volume on its way to its newest key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloister.crypto.keyring import KeyRing
from cloister.errors import (
    CallerError,
    CloisterError,
    MalformedError,
    ReleaseDeniedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.testing.store import Event, EventKind
from cloister.testing.volume import VolumeBench, get, put, truncate
from cloister.volume import rekey
from cloister.volume.anchor import AnchorState
from cloister.volume.content import file
from cloister.volume.content.blocks import sessions_in
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import ENTRY_HEADER_BYTES, EntryHeader, EntryKind
from cloister.volume.index import Index
from cloister.volume.journal import seal_entry
from cloister.volume.keys import VolumeKeys
from cloister.volume.reader import verify_tree
from cloister.volume.recovery import read_superblock
from cloister.volume.rekey import RekeyProgress
from cloister.volume.tree import VolumeFilesystem

CONTENT = {
    b"inline": b"abc",
    b"packed": b"p" * 300,
    b"direct": b"d" * 3000,
    b"tree": bytes(i % 251 for i in range(150_000)),
    b"exact": b"e" * 512 * 40,
}


def filled() -> VolumeBench:
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    for name, data in CONTENT.items():
        put(fs, name, data)
    ino = put(fs, b"hole", b"x")
    truncate(fs, ino, 200_000)
    fs.write(ino, 199_000, memoryview(b"end"))
    fs.symlink(ROOT_INO, b"link", b"packed", 0, 0)
    fs.close()
    return bench


def require_content(fs: VolumeFilesystem) -> None:
    for name, data in CONTENT.items():
        assert get(fs, name) == data
    hole = get(fs, b"hole")
    assert (len(hole), hole[0], hole[199_000:199_003]) == (200_000, ord("x"), b"end")
    assert not any(hole[1:199_000])
    verify_tree(fs, progress=lambda _: None)


def headers(bench: VolumeBench) -> list[EntryHeader]:
    found = []
    for path in sorted(path for path in bench.store.files if path.startswith("journal/")):
        data = bytes(bench.store.files[path])
        while data:
            found.append(EntryHeader.from_bytes(data[:ENTRY_HEADER_BYTES]))
            data = data[ENTRY_HEADER_BYTES + found[-1].body_bytes :]
    return found


def key_epochs(fs: VolumeFilesystem) -> set[int]:
    """Return the key epoch of each block and page that the tree uses."""
    found = set()
    sessions = fs._index.sessions
    for inode in fs._index.inodes.values():
        packed = [inode.pointers]
        if inode.is_file and inode.object_id != bytes(16):
            table = fs._contents._file(inode)._own_table()
            blocks = -(-inode.size // 512)
            packed += [part for _, _, part in table._to_pages(blocks)]
            packed += [table.slice(n, 1) for n in range(blocks)]
        for number in (n for part in packed for n in sessions_in(part) if n is not None):
            session = sessions.get(number)
            assert session is not None
            found.add(session.key_epoch)
    return found


@pytest.mark.spec("VOL-70", "VOL-72", "VOL-74", "VOL-77")
def test_a_writer_seals_under_the_newest_key_at_once() -> None:
    """New data and the whole index go under the new key; old data stays, and is readable."""
    bench = filled()
    bench.rotate()
    fs = bench.reader()
    require_content(fs)
    fs.close()
    fs = bench.writer()
    put(fs, b"new", b"n" * 3000)
    fs.close()
    (header,) = headers(bench)
    assert (header.kind, header.key_epoch) == (EntryKind.FULL, 2)
    assert bench.holder.oldest_key == 1
    fs = bench.reader()
    require_content(fs)
    assert get(fs, b"new") == b"n" * 3000
    assert key_epochs(fs) == {1, 2}


@pytest.mark.spec("VOL-74")
def test_opening_a_rotated_volume_writes_nothing() -> None:
    """A writer that changes nothing commits nothing."""
    bench = filled()
    bench.rotate()
    before = bench.holder.current
    bench.writer().close()
    assert bench.holder.current == before


@pytest.mark.spec("VOL-73", "VOL-77", "VOL-78")
def test_rekeying_leaves_nothing_under_an_older_key() -> None:
    """Every block, page and entry is under the newest; the oldest in use says so."""
    bench = filled()
    bench.rotate()
    bench.rotate()
    report = bench.rekey()
    assert report.key_epoch == 3
    assert report.resealed >= sum(map(len, CONTENT.values())) - len(CONTENT[b"inline"])
    assert bench.holder.oldest_key == 3
    assert {header.key_epoch for header in headers(bench)} == {3}
    fs = bench.reader()
    assert key_epochs(fs) == {3}
    assert fs._index.sessions.first == 1
    require_content(fs)


@pytest.mark.spec("VOL-76")
def test_after_retirement_the_newest_key_opens_everything() -> None:
    """Reading, writing and another rotation go on without the first key."""
    bench = filled()
    bench.rotate()
    bench.rekey()
    bench.retire()
    assert bench.keys.oldest == 2
    fs = bench.reader()
    require_content(fs)
    fs.close()
    fs = bench.writer()
    put(fs, b"tree", CONTENT[b"tree"])
    fs.close()
    bench.rotate()
    bench.rekey()
    bench.retire()
    assert (bench.keys.oldest, bench.keys.epoch) == (3, 3)
    fs = bench.reader()
    require_content(fs)


@pytest.mark.spec("VOL-76")
@pytest.mark.parametrize("offset", [10, 11, 16, 40])
def test_without_the_first_key_the_root_vouches_for_the_superblock(offset: int) -> None:
    """A changed superblock opens nothing, though its MAC can no longer be checked."""
    bench = filled()
    bench.rotate()
    bench.rekey()
    bench.retire()
    bench.store.files["superblock"][offset] ^= 3
    for opened in (bench.reader, bench.writer):
        with pytest.raises(CloisterError) as caught:
            opened()
        assert caught.value.code in {"volume.tampered", "caller.misuse"}
        bench.crash()


@pytest.mark.spec("VOL-78")
def test_rekeying_again_does_nothing() -> None:
    """A volume under its newest key is passed over, without a commit."""
    bench = filled()
    assert bench.rekey().resealed == 0
    before = bench.holder.current
    assert before.version == 2
    bench.rotate()
    bench.rekey()
    after = bench.holder.current
    assert bench.rekey().resealed == 0
    assert bench.holder.current == after


@pytest.mark.spec("VOL-77", "VOL-78")
def test_an_empty_volume_is_rekeyed_too() -> None:
    """There is no block, but an index under the old key."""
    bench = VolumeBench()
    bench.create()
    bench.rotate()
    bench.rekey()
    assert bench.holder.oldest_key == 2
    bench.retire()
    bench.reader().close()


@pytest.mark.spec("VOL-78")
def test_times_and_sizes_stay() -> None:
    """Rekeying is no change of any file."""
    bench = filled()
    fs = bench.reader()
    before = [fs.attributes(entry.ino) for entry in fs.list_directory(ROOT_INO)]
    fs.close()
    bench.rotate()
    bench.rekey()
    fs = bench.reader()
    assert [fs.attributes(entry.ino) for entry in fs.list_directory(ROOT_INO)] == before


@pytest.mark.spec("VOL-78")
def test_it_commits_every_so_often_and_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed before an end in the middle is not sealed again."""
    monkeypatch.setattr(rekey, "COMMIT_BYTES", 512 * 20)
    bench = filled()
    bench.rotate()
    seen: list[int] = []

    class StoppedError(Exception):
        pass

    def stop(progress: RekeyProgress) -> None:
        seen.append(progress.resealed)
        assert progress.octets <= progress.total
        if progress.resealed > 100_000:
            raise StoppedError

    fs = bench.writer()
    with pytest.raises(StoppedError):
        fs.rekeying().run(progress=stop)
    committed = bench.holder.current.version
    assert committed > 5
    bench.crash()  # nothing is committed any more
    report = bench.rekey()
    assert report.resealed < 370_000 - 80_000
    assert bench.holder.oldest_key == 2
    fs = bench.reader()
    require_content(fs)
    assert seen == sorted(seen)


@pytest.mark.spec("VOL-78")
def test_space_is_used_again_between_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backing file grows by what one stretch needs, not by the whole file."""
    monkeypatch.setattr(rekey, "COMMIT_BYTES", 512 * 8)
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    put(fs, b"large", b"l" * 512 * 400)
    fs.close()
    before = bench.store.used()
    bench.rotate()
    bench.store.quota = before + 2**20 + 512 * 64 + 40_000
    bench.rekey()
    assert bench.holder.oldest_key == 2
    fs = bench.reader()
    assert get(fs, b"large") == b"l" * 512 * 400


@pytest.mark.spec("VOL-78")
def test_pages_are_sealed_again_though_their_blocks_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page counts by itself; a few at a time are in memory."""
    monkeypatch.setattr(file, "_MAX_DIRTY_PAGES", 3)
    bench = filled()
    bench.rotate()
    fs = bench.writer()
    inode = fs._index.inodes[fs.lookup(ROOT_INO, b"tree").ino]
    assert inode.height == 2
    assert fs._contents.reseal_pages(inode, 1)
    assert not fs._contents.reseal_pages(inode, 1)
    fs.commit()
    assert key_epochs(fs) == {1, 2}
    assert set(sessions_in(inode.pointers)) == {1}
    fs.close()
    fs = bench.reader()
    require_content(fs)
    fs.close()
    bench.rekey()
    fs = bench.reader()
    require_content(fs)
    assert key_epochs(fs) == {2}


@pytest.mark.spec("VOL-52", "VOL-78")
def test_a_block_that_was_changed_ends_it() -> None:
    """Rekeying authenticates what it moves, and gives up no session before it has moved all."""
    bench = filled()
    path = max((p for p in bench.store.files if p.startswith("objects/")), key=_size_in(bench))
    bench.store.files[path][5 * 512] ^= 1
    bench.rotate()
    with pytest.raises(TamperedError) as caught:
        bench.rekey()
    assert caught.value.code == "volume.tampered"
    assert bench.holder.oldest_key == 1


def _size_in(bench: VolumeBench) -> Callable[[str], int]:
    return lambda path: len(bench.store.files[path])


def test_a_full_disk_ends_it_and_loses_nothing() -> None:
    """What was there stays readable, and rekeying goes on when there is space."""
    bench = filled()
    bench.rotate()
    bench.store.quota = bench.store.used() + 2000
    with pytest.raises(StorageFullError) as caught:
        bench.rekey()
    assert caught.value.code == "storage.full"
    bench.crash()
    fs = bench.reader()
    require_content(fs)
    fs.close()
    bench.store.quota = 2**30
    bench.rekey()
    fs = bench.reader()
    require_content(fs)
    assert key_epochs(fs) == {2}


def test_an_anchor_that_is_away_is_asked_again() -> None:
    """The same run may be tried again after a failure that passes."""
    bench = filled()
    bench.rotate()
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.rekeying().run(progress=lambda _: None)
    anchor.down = False
    fs.rekeying().run(progress=lambda _: None)
    fs.close()
    assert bench.holder.oldest_key == 2
    fs = bench.reader()
    require_content(fs)


def test_a_volume_with_open_files_is_not_rekeyed() -> None:
    """A file without a name would be passed over."""
    bench = filled()
    bench.rotate()
    fs = bench.writer()
    ino = fs.lookup(ROOT_INO, b"direct").ino
    fs.open(ino)
    fs.unlink(ROOT_INO, b"direct")
    with pytest.raises(CallerError) as caught:
        fs.rekeying()
    assert caught.value.code == "caller.misuse"
    fs.release(ino)
    fs.rekeying().run(progress=lambda _: None)
    fs.close()
    assert bench.holder.oldest_key == 2


def test_who_only_reads_does_not_rekey() -> None:
    """Rekeying is writing."""
    fs = filled().reader()
    with pytest.raises(OSError, match="Read-only"):
        fs.rekeying()


@pytest.mark.spec("VOL-70")
def test_a_key_that_was_not_given_is_named() -> None:
    """Who has too few keys learns which is missing, and opens nothing."""
    bench = filled()
    old = bench.keys
    bench.rotate()
    fs = bench.writer()
    put(fs, b"new", b"n")
    fs.close()
    bench.later_keys, newer = old, bench.keys
    for opened in (bench.reader, bench.writer):
        with pytest.raises(ReleaseDeniedError) as caught:
            opened()
        assert caught.value.code == "release.key-missing"
        bench.crash()
    bench.later_keys = newer.since(2)
    fs = bench.reader()
    assert get(fs, b"new") == b"n"
    with pytest.raises(ReleaseDeniedError) as caught:
        get(fs, b"packed")
    assert caught.value.code == "release.key-missing"


@pytest.mark.spec("VOL-75")
def test_what_an_old_key_wrote_behind_the_anchor_is_not_taken() -> None:
    """An entry that chains on, under an older key than the newest, is cut."""
    bench = filled()
    anchored = bench.holder.current
    fs = bench.writer()
    put(fs, b"late", b"by whoever has the old key")
    fs.close()
    bench.holder.current = AnchorState(anchored.version, anchored.root, anchored.epoch)
    kept = bench.store.copy()
    fs = bench.writer()
    assert get(fs, b"late")
    fs.close()
    bench.store, bench.holder.current = kept, anchored
    bench.rotate()
    fs = bench.writer()
    assert b"late" not in {entry.name for entry in fs.list_directory(ROOT_INO)}
    require_content(fs)


@pytest.mark.spec("VOL-71")
@pytest.mark.parametrize("rotated", [True, False])
def test_a_segment_has_one_key(*, rotated: bool) -> None:
    """A delta under another key than the entries before it does not follow, though anchored."""
    bench = filled()
    superblock = read_superblock(bench.store)
    same = Index()
    same.make_root(mode=0o755, at_ns=1)
    if rotated:
        bench.rotate()
    before = bench.holder.current
    pieces, root = seal_entry(
        VolumeKeys(bench.keys, superblock),
        superblock,
        same.full(),
        kind=EntryKind.DELTA,
        version=before.version + 1,
        epoch=before.epoch,
        previous=before.root,
    )
    (path,) = (path for path in bench.store.files if path.startswith("journal/"))
    bench.store.files[path] += b"".join(pieces)
    bench.holder.current = AnchorState(before.version + 1, root, before.epoch)
    if not rotated:
        bench.reader().close()
        return
    with pytest.raises(TamperedError) as caught:
        bench.reader()
    assert caught.value.code == "volume.tampered"


@pytest.mark.spec("VOL-73")
def test_a_pointer_to_a_session_that_is_gone_is_malformed() -> None:
    """What is given up is given up: no older key brings it back."""
    bench = filled()
    bench.rotate()
    fs = bench.writer()
    fs._index.drop_sessions(1)
    put(fs, b"new", b"n" * 600)
    fs.close()
    fs = bench.reader()
    assert get(fs, b"new") == b"n" * 600
    with pytest.raises(MalformedError) as caught:
        get(fs, b"packed")
    assert caught.value.code == "volume.malformed"


def test_deltas_and_full_entries_say_the_same() -> None:
    """Sessions that are gone and later ones survive both ways of writing the index."""
    bench = filled()
    bench.rotate()
    bench.rekey()
    fs = bench.writer()
    put(fs, b"more", b"m" * 700)
    fs.commit()
    delta = [fs._index.sessions.get(n) for n in range(fs._index.sessions.end)]
    fs.close()
    fs = bench.reader()
    assert [fs._index.sessions.get(n) for n in range(fs._index.sessions.end)] == delta
    again = type(fs._index)()
    again.apply(fs._index.full(), key_epoch=2)
    assert [again.sessions.get(n) for n in range(again.sessions.end)] == delta
    assert delta[0] is None
    assert KeyRing.first(bench.key).newest == bench.key


@pytest.mark.spec("VOL-39", "VOL-78")
def test_old_blocks_stay_until_the_anchor_has_moved() -> None:
    """No slot that the anchored state uses is written while it is the anchored state."""
    bench = filled()
    bench.rotate()
    before = {path: bytes(data) for path, data in bench.store.files.items()}
    bench.store.recording = True
    fs = bench.writer()
    fs.rekeying().run(progress=lambda _: None)
    events: list[Event] = bench.store.events
    first = next(n for n, e in enumerate(events) if e.path.startswith("journal/"))
    writes = [e for e in events[:first] if e.kind is EventKind.WRITE and e.path in before]
    assert all(e.offset >= len(before[e.path]) for e in writes)
    fs.close()
