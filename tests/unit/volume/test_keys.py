"""Salts, sessions and counters of a writer."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError, StorageFullError
from cloister.testing.store import Event, EventKind
from cloister.testing.volume import VolumeBench, put
from cloister.volume import keys as keys_module
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import ENTRY_HEADER_BYTES, VolumeKind
from cloister.volume.keys import SALT_BYTES, SessionKeys, VolumeKeys, make_superblock
from cloister.volume.sessions import Session, Sessions

KEY = b"k" * 32


def sessions(kept: Sessions) -> SessionKeys:
    superblock = make_superblock(
        KEY, kind=VolumeKind.MUTABLE, block_bytes=512, volume_id=bytes(range(16))
    )
    return SessionKeys(VolumeKeys(KEY, superblock), kept)


def salts_of(kept: Sessions) -> list[bytes]:
    found = [kept.get(number) for number in range(kept.first, kept.end)]
    return [session.salt for session in found if session is not None]


def counters(writer: SessionKeys, count: int) -> list[tuple[int, int]]:
    """Seal `count` blocks; return session and counter of each, as its stamp has them."""
    found = []
    for _ in range(count):
        _, nonce, stamp = writer.sealing()
        assert int.from_bytes(nonce, "big") == stamp & (2**40 - 1)
        found.append((stamp >> 40, stamp & (2**40 - 1)))
    return found


@pytest.mark.spec("VOL-37")
def test_a_session_begins_with_the_first_block_sealed() -> None:
    """Opening draws nothing; the first block draws a salt of 32 bytes and has counter 0."""
    kept = Sessions()
    kept.add(Session(b"s" * 32, 1))
    writer = sessions(kept)
    assert kept.end == 1
    assert counters(writer, 3) == [(1, 0), (1, 1), (1, 2)]
    again = sessions(kept)
    assert counters(again, 2) == [(2, 0), (2, 1)]
    salts = salts_of(kept)
    assert [len(salt) for salt in salts] == [SALT_BYTES] * 3
    assert len(set(salts)) == 3


@pytest.mark.spec("VOL-37")
def test_a_session_ends_before_its_counter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last block that a session may seal, another begins under its own salt."""
    assert keys_module.SESSION_BLOCKS == 2**32
    monkeypatch.setattr(keys_module, "SESSION_BLOCKS", 3)
    kept = Sessions()
    writer = sessions(kept)
    assert counters(writer, 7) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert len(set(salts_of(kept))) == 3


@pytest.mark.spec("VOL-37")
def test_an_entry_that_is_written_again_has_a_new_salt() -> None:
    """The disk was full in the middle of an entry: the second attempt seals under another key."""
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    put(fs, b"f", b"x")
    headers: list[bytes] = []
    full = [True]

    def note(event: Event) -> None:
        if event.kind is EventKind.WRITE and event.path.startswith("journal/"):
            headers.append(event.data[:ENTRY_HEADER_BYTES])
            if full:
                raise StorageFullError("the disk is full", code="storage.full")

    bench.store.before = note
    with pytest.raises(StorageFullError):
        fs.fsync(ROOT_INO)
    full.clear()
    fs.fsync(ROOT_INO)
    assert len(headers) >= 2
    assert len({header[:64] for header in headers}) == 1  # the same version on the same root
    assert len({header[64:] for header in headers}) == len(headers)


@pytest.mark.spec("VOL-81")
def test_each_class_has_a_key_of_its_own_and_one_counter() -> None:
    """No counter is used twice in a session, and no tag of one class is one of the other."""
    kept = Sessions()
    writer = sessions(kept)
    (sealed, nonce, stamp), (vouched, other_nonce, other_stamp) = (
        writer.sealing(),
        writer.sealing(readable=True),
    )
    assert (stamp & 2**40 - 1, other_stamp & 2**40 - 1) == (0, 1)
    assert nonce != other_nonce
    assert kept.end == 1
    assert sealed.vouch(nonce, b"data") != vouched.vouch(nonce, b"data")
    reader = sessions(kept)
    assert reader.opening(stamp)[0].vouch(nonce, b"x") == sealed.vouch(nonce, b"x")
    assert reader.opening(stamp, readable=True)[0].vouch(nonce, b"x") == vouched.vouch(nonce, b"x")
    for readable in (False, True):
        with pytest.raises(MalformedError):
            reader.opening(1 << 40, readable=readable)
