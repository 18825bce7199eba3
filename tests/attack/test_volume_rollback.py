"""Threat: the host shows an older state, a fork, or a mixture of states."""

from __future__ import annotations

import pytest

from cloister.errors import TamperedError, UnavailableError
from cloister.testing.store import MemoryStore
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume.anchor import AnchorState
from cloister.volume.filesystem import ROOT_INO


def history(commits: int = 4) -> tuple[VolumeBench, list[MemoryStore]]:
    """Make a volume and keep a copy of the whole directory after each commit."""
    bench = VolumeBench()
    bench.create()
    copies = [bench.store.copy()]
    for number in range(commits):
        fs = bench.writer()
        put(fs, b"f", bytes([48 + number]) * 3000)
        put(fs, b"g%d" % number, b"g" * 600)
        fs.close()
        copies.append(bench.store.copy())
    return bench, copies


def refused(bench: VolumeBench, *, writable: bool) -> str:
    with pytest.raises(TamperedError) as caught:
        bench.open(bench.holder.acquire(), writable=writable)
    return caught.value.code


@pytest.mark.parametrize("writable", [True, False])
def test_an_older_copy_of_everything(*, writable: bool) -> None:
    """The whole directory put back as it was after any earlier commit is a rollback."""
    bench, copies = history()
    for copy in copies[:-1]:
        bench.store = copy.copy()
        assert refused(bench, writable=writable) == "volume.rolled-back"
    bench.store = copies[-1].copy()
    bench.reader().close()


@pytest.mark.parametrize("writable", [True, False])
def test_an_older_journal_alone(*, writable: bool) -> None:
    """The journal put back, with data files as they are now, is a rollback."""
    bench, copies = history()
    for copy in copies[:-1]:
        bench.store = copies[-1].copy()
        for path in [p for p in bench.store.files if p.startswith("journal/")]:
            del bench.store.files[path]
        for path, data in copy.files.items():
            if path.startswith("journal/"):
                bench.store.files[path] = bytearray(data)
        assert refused(bench, writable=writable) == "volume.rolled-back"


def test_older_data_with_the_newest_journal() -> None:
    """Data files put back under the newest journal do not read as anything."""
    bench, copies = history()
    newest = copies[-1]
    for copy in copies[1:-1]:
        bench.store = newest.copy()
        for path, data in copy.files.items():
            if path.startswith("objects/"):
                bench.store.files[path] = bytearray(data)
        with pytest.raises(TamperedError) as caught:
            get(bench.reader(), b"f")
        assert caught.value.code in {"volume.tampered", "volume.truncated"}


def test_older_superblock_is_the_same() -> None:
    """The superblock never changes, so there is no older one."""
    _, copies = history()
    assert len({bytes(copy.files["superblock"]) for copy in copies}) == 1


def test_journal_without_its_last_entry() -> None:
    """Cut at the border of an entry it is older; cut inside one it is truncated."""
    bench, _ = history(1)
    (path,) = [p for p in bench.store.files if p.startswith("journal/")]
    whole = bytes(bench.store.files[path])
    codes = set()
    for length in range(len(whole)):
        bench.store.files[path] = bytearray(whole[:length])
        codes.add(refused(bench, writable=True))
        bench.store.locked = False
    assert codes == {"volume.truncated", "volume.rolled-back"}


def test_a_fork_is_refused() -> None:
    """Another history from a common past, made under the right key, is not the committed one."""
    bench, copies = history(2)
    fork = VolumeBench(store=copies[1].copy())
    fork.holder.register(version=2, root=_root_at(bench, 2))
    for number in range(3):
        fs = fork.writer()
        put(fs, b"evil%d" % number, b"e")
        fs.close()
    bench.store = fork.store
    bench.store.locked = False
    assert refused(bench, writable=True) == "volume.tampered"


def _root_at(bench: VolumeBench, version: int) -> bytes:
    return next(s.root for s in bench.holder.history if s.version == version)


def test_missing_segment() -> None:
    """Without its journal the volume is truncated."""
    bench, _ = history(1)
    for path in [p for p in bench.store.files if p.startswith("journal/")]:
        del bench.store.files[path]
    assert refused(bench, writable=False) == "volume.truncated"


def test_rollback_of_disk_after_unanchored_commit() -> None:
    """A commit whose anchoring failed may be hidden by the host, an anchored one may not."""
    bench, copies = history(1)
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    put(fs, b"late", b"l" * 900)
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.commit()
    bench.crash()
    durable = bench.store.copy()
    bench.store = copies[-1].copy()
    fs = bench.writer()
    assert b"late" not in {e.name for e in fs.list_directory(ROOT_INO)}
    fs.close()
    bench.store = durable
    fs = bench.writer()
    assert get(fs, b"late") == b"l" * 900
    put(fs, b"later", b"x")
    fs.close()
    bench.store = copies[-1].copy()
    assert refused(bench, writable=True) == "volume.rolled-back"


def test_lost_reply_of_the_anchor_is_not_a_rollback() -> None:
    """Where the anchor moved and the reply was lost, opening finds the state it moved to."""
    bench, _ = history(1)
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    put(fs, b"late", b"l")
    anchor.lose_reply = True
    with pytest.raises(UnavailableError):
        fs.commit()
    bench.crash()
    assert get(bench.writer(), b"late") == b"l"


def test_a_reader_never_rolls_forward() -> None:
    """A reader shows exactly the anchored state, not a later one that may come to nothing."""
    bench, _ = history(1)
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    put(fs, b"late", b"l")
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.commit()
    bench.crash()
    reader = bench.reader()
    assert b"late" not in {e.name for e in reader.list_directory(ROOT_INO)}


@pytest.mark.spec("VOL-45")
def test_rolled_forward_state_is_anchored_at_once() -> None:
    """Opening for writing moves the anchor to what it rolled forward to."""
    bench, _ = history(1)
    anchor = bench.holder.acquire()
    fs = bench.writer(anchor)
    put(fs, b"late", b"l")
    anchor.down = True
    with pytest.raises(UnavailableError):
        fs.commit()
    bench.crash()
    before = bench.holder.current.version
    fs = bench.writer()
    assert bench.holder.current.version == before + 1
    assert bench.holder.current.epoch == bench.holder.lease
    assert get(fs, b"late") == b"l"


@pytest.mark.spec("VOL-41")
def test_anchor_without_state_opens_nothing() -> None:
    """An anchor that knows no commit does not accept whatever is on disk."""
    bench, _ = history(1)
    bench.holder.current = AnchorState(0, bytes(32), 0)
    assert refused(bench, writable=False) == "volume.tampered"


def test_anchor_that_is_behind_everything_on_disk() -> None:
    """Where the disk no longer has the anchored entry but only later ones, nothing is opened."""
    bench, _ = history(2)
    bench.holder.current = AnchorState(1, b"\x01" * 32, 1)
    assert refused(bench, writable=True) == "volume.tampered"
