"""`cloister volume rotate`, `rekey` and `retire`."""

from __future__ import annotations

from pathlib import Path

from cloister.testing.volume import get, put
from unit.cli.conftest import Door


def write(door: Door, name: bytes, data: bytes) -> None:
    with door.owner.writing(Path("store")) as (filesystem, _):
        put(filesystem, name, data)


def test_a_key_is_replaced_bit_by_bit(door: Door) -> None:
    """Rotate, rekey, retire: the content stays, the first key goes."""
    made = door.record("volume", "create", "store")
    write(door, b"before", b"b" * 200_000)
    assert door.record("volume", "rotate", "store")["key_epoch"] == 2
    write(door, b"after", b"a" * 200_000)
    found = door.call("volume", "retire", "store")
    assert getattr(found.exception, "code", None) == "release.key-in-use"
    done = door.record("volume", "rekey", "store")
    assert (done["key_epoch"], done["resealed_bytes"]) == (2, 200_000)
    assert door.record("volume", "retire", "store")["oldest_key"] == 2
    held = door.owner.client.volume_key(bytes.fromhex(made["id"]))
    assert (held.keys.oldest, held.keys.epoch) == (2, 2)
    assert door.record("volume", "verify", "store")["verified_bytes"] == 400_000
    with door.owner.reading(Path("store")) as filesystem:
        assert get(filesystem, b"before") == b"b" * 200_000
    assert door.record("volume", "observe", "store")["id"] == made["id"]
    assert len(door.record("volume", "ls", "store")["entries"]) == 2


def test_people_get_lines(door: Door) -> None:
    """Each says what comes next, or what is so now."""
    door.record("volume", "create", "store")
    rotated = door.call("volume", "rotate", "store")
    assert "from now on is under key 2" in rotated.stdout
    assert "cloister volume rekey store" in rotated.stderr
    assert "all of store is under key 2" in door.call("volume", "rekey", "store").stdout
    assert "before key 2 are gone" in door.call("volume", "retire", "store").stdout


def test_keys_before_an_epoch_go_and_others_stay(door: Door) -> None:
    """A key that is in use need not keep the ones before it."""
    door.record("volume", "create", "store")
    write(door, b"file", b"f" * 200_000)
    door.record("volume", "rotate", "store")
    door.record("volume", "rekey", "store")
    door.record("volume", "rotate", "store")
    found = door.call("volume", "retire", "store")
    assert getattr(found.exception, "code", None) == "release.key-in-use"
    assert door.record("volume", "retire", "store", "--before", "2")["oldest_key"] == 2
    assert door.record("volume", "retire", "store", "--before", "1")["oldest_key"] == 2


def test_a_sealed_volume_keeps_its_key(door: Door, plain: Path) -> None:
    """It is never written again; the hint says what to do instead."""
    door.record("volume", "seal", plain, "store")
    found = door.call("volume", "rotate", "store")
    assert getattr(found.exception, "code", None) == "config.value"
    assert "seal" in str(getattr(found.exception, "hint", ""))
    [record] = door.record("keyservice", "status")["volumes"]
    assert "key_epoch" not in record
