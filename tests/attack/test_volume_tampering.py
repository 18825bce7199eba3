"""Threat: the host changes, swaps, cuts, or replaces what it stores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloister.crypto import aead
from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError, TamperedError
from cloister.testing.store import EventKind, MemoryStore
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import POINTER
from cloister.volume.reader import verify_tree

CONTENT = {
    b"inline": b"i" * 8,
    b"packed": b"p" * 400,
    b"large": bytes(range(256)) * 40,
    b"twin": bytes(range(256)) * 40,
    b"huge": bytes(range(1, 252)) * 200,
}


def make() -> VolumeBench:
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    for name, data in CONTENT.items():
        put(fs, name, data)
    fs.close()
    return bench


def read_all(bench: VolumeBench) -> dict[bytes, bytes]:
    fs = bench.reader()
    try:
        verify_tree(fs, progress=lambda _: None)
        return {entry.name: get(fs, entry.name) for entry in fs.list_directory(ROOT_INO)}
    finally:
        fs.close()


def code_of(bench: VolumeBench) -> str:
    with pytest.raises((TamperedError, MalformedError)) as caught:
        read_all(bench)
    return caught.value.code


def objects(bench: VolumeBench) -> list[str]:
    return [
        path for path in bench.store.files if path.startswith("objects/") and "/pack" not in path
    ]


USED = ("superblock", "journal/", "objects/")


def test_honest_storage_reads() -> None:
    """Without an attack the content is what was written."""
    assert read_all(make()) == CONTENT


def test_every_flipped_bit_is_found() -> None:
    """One flipped bit anywhere that matters is an error, and elsewhere changes nothing."""
    bench = make()
    found = 0
    for path, data in bench.store.files.items():
        step = 97 if path.startswith("objects/") else 5 if path.startswith(USED) else 2**19
        for offset in range(0, len(data), step):
            data[offset] ^= 1 << offset % 8
            try:
                assert read_all(bench) == CONTENT
                assert not path.startswith(("superblock", "journal/"))
            except (TamperedError, MalformedError):
                found += 1
            data[offset] ^= 1 << offset % 8
    assert found > 300
    assert read_all(bench) == CONTENT


def test_every_cut_is_found() -> None:
    """A file that lost its end, or was emptied or removed, is an error where it matters."""
    bench = make()
    for path in [path for path in bench.store.files if path.startswith(USED)]:
        data = bytes(bench.store.files[path])
        for length in {0, 1, len(data) // 2, len(data) - 1}:
            bench.store.files[path] = bytearray(data[:length])
            assert code_of(bench).startswith("volume.")
        del bench.store.files[path]
        assert code_of(bench) == "volume.truncated"
        bench.store.files[path] = bytearray(data)
    assert read_all(bench) == CONTENT


def test_appended_bytes_change_nothing() -> None:
    """What is appended to a file is never read as data; a longer superblock is refused."""
    bench = make()
    for path in [path for path in bench.store.files if path.startswith(USED)]:
        bench.store.files[path] += b"\xff" * 700
        if path == "superblock":
            assert code_of(bench) == "volume.malformed"
        else:
            assert read_all(bench) == CONTENT
        del bench.store.files[path][-700:]


def test_blocks_swapped_within_a_file() -> None:
    """Two blocks of one file exchanged are refused."""
    bench = make()
    for path in objects(bench):
        data = bench.store.files[path]
        data[0:512], data[512:1024] = data[512:1024], data[0:512]
        assert code_of(bench) == "volume.tampered"
        data[0:512], data[512:1024] = data[512:1024], data[0:512]


def test_blocks_swapped_between_files() -> None:
    """Equal plaintext at the same place of two files cannot be exchanged."""
    bench = make()
    first, second = objects(bench)[:2]
    files = bench.store.files
    files[first], files[second] = files[second], files[first]
    assert code_of(bench) in {"volume.tampered", "volume.truncated"}


def test_older_data_file() -> None:
    """A backing file put back as it was before an overwrite is refused."""
    bench = make()
    old = {path: bytes(data) for path, data in bench.store.files.items()}
    fs = bench.writer()
    ino = fs.lookup(ROOT_INO, b"large").ino
    for _ in range(3):
        fs.write(ino, 0, memoryview(b"N" * 10_240))
        fs.fsync(ino)
    fs.close()
    changed = [p for p in objects(bench) if p in old and bytes(bench.store.files[p]) != old[p]]
    assert changed
    for path in changed:
        new = bench.store.files[path]
        bench.store.files[path] = bytearray(old[path])
        assert code_of(bench) in {"volume.tampered", "volume.truncated"}
        bench.store.files[path] = new


def test_another_volume_in_its_place() -> None:
    """A whole other volume of the same owner, under its own key, is refused as foreign."""
    bench = make()
    other = make()
    other.key = bytes(32)
    fresh = VolumeBench(key=bytes(32))
    fresh.create()
    bench.store.files = fresh.store.files
    assert code_of(bench) == "volume.foreign"


def test_another_volume_under_the_same_key() -> None:
    """Even where two volumes share a key by mistake, one does not pass for the other."""
    bench, other = make(), make()
    for path in ("superblock", None):
        mixed = VolumeBench(store=bench.store.copy(), holder=bench.holder)
        if path is None:
            mixed.store = other.store.copy()
        else:
            mixed.store.files[path] = bytearray(other.store.files[path])
        assert code_of(mixed) in {"volume.tampered", "volume.truncated"}


def test_odd_names_are_ignored() -> None:
    """Files that no volume has are not looked at."""
    bench = make()
    for path in ("journal/x", "journal/0000000000000001.bak", "objects/zz/evil", "readme"):
        bench.store.files[path] = bytearray(b"\0" * 100)
    assert read_all(bench) == CONTENT


def test_a_forged_segment_changes_nothing() -> None:
    """Segments and entries that nobody with the key made are not read as state."""
    bench = make()
    path = max(p for p in bench.store.files if p.startswith("journal/"))
    genuine = bytes(bench.store.files[path])
    bench.store.files["journal/00000000000000ff"] = bytearray(genuine)
    bench.store.files["journal/0000000000000003"] = bytearray(genuine[:96] + b"\0" * 400)
    assert read_all(bench) == CONTENT
    fs = bench.writer()
    assert get(fs, b"inline") == CONTENT[b"inline"]
    fs.close()
    assert read_all(bench) == CONTENT


def test_too_many_segments_are_refused() -> None:
    """A journal with more segments than any history leaves is not even read."""
    bench = make()
    for number in range(100):
        bench.store.files[f"journal/{number:016x}"] = bytearray(1)
    assert code_of(bench) == "volume.malformed"


def test_zombie_writer_is_fenced() -> None:
    """A writer whose lease was taken over cannot commit, now or later, nor harm the new state."""
    bench = make()
    zombie = bench.writer()
    put(zombie, b"mine", b"z" * 2000)
    bench.store = bench.store.copy()
    winner = bench.writer()
    put(winner, b"theirs", b"w" * 2000)
    winner.close()
    for _ in range(2):
        with pytest.raises(ReleaseDeniedError) as caught:
            zombie.commit()
        assert caught.value.code == "release.fenced"
    with pytest.raises(ReleaseDeniedError):
        put(zombie, b"again", b"x")
    assert read_all(bench) == CONTENT | {b"theirs": b"w" * 2000}


def test_second_local_writer_is_kept_out() -> None:
    """While one writer has the volume open, a second on the same machine is refused as busy."""
    bench = make()
    first = bench.writer()
    with pytest.raises(CloisterError) as caught:
        bench.writer()
    assert caught.value.code == "volume.busy"
    first.close()
    bench.writer().close()


@pytest.mark.spec("VOL-41")
def test_an_older_lease_cannot_open() -> None:
    """Opening for writing with a lease older than the last commit's is refused as fenced."""
    bench = make()
    old = bench.holder.acquire()
    fs = bench.writer()
    put(fs, b"x", b"y")
    fs.close()
    with pytest.raises(ReleaseDeniedError) as caught:
        bench.writer(old)
    assert caught.value.code == "release.fenced"


def stamps_of(store: MemoryStore, bench: VolumeBench) -> list[bytes]:
    """Return every ciphertext written, and with it the stamp in its pointer, of a recording."""
    return [e.data for e in store.events if e.kind is EventKind.WRITE and "objects/" in e.path]


@pytest.mark.spec("VOL-37")
def test_no_nonce_repeats_across_forced_rollbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that puts the volume back again and again never makes one key seal a nonce twice."""
    used: list[tuple[bytes, bytes]] = []
    _spy_on_sealing(monkeypatch, used)
    bench = make()
    snapshot, state, lease = bench.store.copy(), bench.holder.current, bench.holder.lease
    for attempt in range(5):
        bench.store = snapshot.copy()
        bench.holder.current, bench.holder.lease = state, lease
        fs = bench.writer()
        put(fs, b"large", bytes([attempt]) * 9000)
        put(fs, b"packed", bytes([attempt]) * 400)
        fs.close()
    assert len(used) > 50
    assert len(set(used)) == len(used)


def test_equal_plaintext_has_unequal_ciphertext() -> None:
    """Writing the same bytes at the same place again gives other ciphertext."""
    bench = make()
    bench.store.recording = True
    fs = bench.writer()
    for _ in range(4):
        put(fs, b"packed", b"same" * 100)
        fs.commit()
    fs.close()
    written = stamps_of(bench.store, bench)
    assert len(written) >= 4
    assert len(set(written)) == len(written)


def _spy_on_sealing(monkeypatch: pytest.MonkeyPatch, used: list[tuple[bytes, bytes]]) -> None:
    keys: dict[int, bytes] = {}
    make_key: Callable[..., None] = aead.AEADKey.__init__
    seal, seal_into = aead.AEADKey.seal, aead.AEADKey.seal_into
    alive: list[aead.AEADKey] = []

    def init(self: aead.AEADKey, key: bytes) -> None:
        make_key(self, key)
        alive.append(self)
        keys[id(self)] = key

    def spy_seal(self: aead.AEADKey, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        used.append((keys[id(self)], nonce))
        return seal(self, nonce, plaintext, aad)

    def spy_into(
        self: aead.AEADKey, nonce: bytes, plaintext: bytes, aad: bytes, out: memoryview
    ) -> None:
        used.append((keys[id(self)], nonce))
        seal_into(self, nonce, plaintext, aad, out)

    monkeypatch.setattr(aead.AEADKey, "__init__", init)
    monkeypatch.setattr(aead.AEADKey, "seal", spy_seal)
    monkeypatch.setattr(aead.AEADKey, "seal_into", spy_into)


def test_pointer_layout_is_32_bytes() -> None:
    """A pointer is 32 bytes, so that a page of 64 KiB holds 2048."""
    assert POINTER.size == 32
