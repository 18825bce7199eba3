"""A backup file: all of a backend, whole or refused, and never written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, LocalProtocolError, TamperedError
from cloister.keyservice.state.backend import LogRow
from cloister.keyservice.state.backup import Backup, head_of, write_backup
from cloister.keyservice.state.record import FIRST_HEAD, Head
from cloister.testing.state import MemoryBackend
from cloister.wire import encode

ROWS = [LogRow(n, b"sealed %d" % n, bytes([n]) * 32) for n in range(3)]


def backend() -> MemoryBackend:
    """One with something of everything."""
    return MemoryBackend(
        {"format": b"f", "state-key/x": b"k"},
        {5: b"five", 6: b"six"},
        (4, b"d" * 32 + b"snapshot"),
        list(ROWS),
    )


def written(folder: Path, source: MemoryBackend | None = None) -> Path:
    """Its backup."""
    path = folder / "backup"
    with path.open("wb") as file:
        write_backup(source or backend(), file, progress=lambda _done, _total: None)
    return path


@pytest.mark.spec("BR-1")
def test_it_holds_all_of_a_backend(tmp_path: Path) -> None:
    """Part by part."""
    backup = Backup(written(tmp_path))
    assert list(backup.slots()) == [("format", b"f"), ("state-key/x", b"k")]
    assert backup.slot("format") == b"f"
    assert backup.slot("other") is None
    assert backup.snapshot() == (4, b"d" * 32 + b"snapshot")
    assert list(backup.records(0)) == [(5, b"five"), (6, b"six")]
    assert list(backup.records(5)) == [(6, b"six")]
    assert list(backup.log_rows()) == ROWS
    assert list(backup.log(1, 1)) == ROWS[1:2]
    assert list(backup.leaves()) == [row.leaf for row in ROWS]
    assert backup.log_size() == 3
    backup.close()


def test_an_empty_backend_has_a_backup(tmp_path: Path) -> None:
    """Which shows the head before the first record."""
    backup = Backup(written(tmp_path, MemoryBackend()))
    assert backup.snapshot() is None
    assert backup.log_size() == 0
    assert head_of(backup) == FIRST_HEAD
    backup.close()


def test_progress_is_told(tmp_path: Path) -> None:
    """In rows of the log."""
    told: list[tuple[int, int]] = []
    with (tmp_path / "backup").open("wb") as file:
        write_backup(backend(), file, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]


@pytest.mark.spec("BR-12")
def test_the_head_is_seen_without_a_key(tmp_path: Path) -> None:
    """The newest record's, else the snapshot's."""
    backup = Backup(written(tmp_path))
    assert head_of(backup) == Head(6, sha256(b"six"))
    backup.close()
    only = MemoryBackend(kept=(4, b"d" * 32 + b"snapshot"))
    backup = Backup(written(tmp_path, only))
    assert head_of(backup) == Head(4, b"d" * 32)
    backup.close()


def refused(path: Path) -> str:
    """Open a file, expecting a refusal."""
    with pytest.raises(TamperedError) as e:
        Backup(path)
    return e.value.code


@pytest.mark.spec("BR-2")
def test_each_changed_byte_and_each_cut_is_refused(tmp_path: Path) -> None:
    """Wherever it is."""
    path = written(tmp_path)
    original = path.read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert refused(path) == "state.tampered"
        path.write_bytes(original[:position])
        assert refused(path) == "state.tampered"
    path.write_bytes(original + b"\x00")
    assert refused(path) == "state.tampered"


def item(*parts: object) -> bytes:
    """One item of a backup."""
    data = encode(list(parts))
    return len(data).to_bytes(4, "big") + data


def sealed_off(*items: bytes) -> bytes:
    """A file of these items with a digest that fits."""
    body = b"cloister/keyservice-backup/v1\n" + b"".join(items)
    return body + item("end", sha256(body))


@pytest.mark.spec("BR-2")
@pytest.mark.parametrize(
    "items",
    [
        (item("record", 1, b"r"), item("slot", "a", b"1")),
        (item("log", 0, b"s", b"l"), item("record", 1, b"r")),
        (item("snapshot", 1, b"s"), item("snapshot", 2, b"s")),
        (item("other", 1),),
        (item(),),
        (item("end", b"e" * 32),),
        (b"\x00\x00\x00\x02\xff\xff",),
        (b"\xff\xff\xff\xff",),
    ],
)
def test_another_order_or_kind_is_refused(tmp_path: Path, items: tuple[bytes, ...]) -> None:
    """Though the digest fits."""
    path = tmp_path / "backup"
    path.write_bytes(sealed_off(*items))
    assert refused(path) == "state.tampered"


@pytest.mark.spec("BR-2")
@pytest.mark.parametrize(
    ("part", "read"),
    [
        (item("slot", 1, b"v"), lambda b: list(b.slots())),
        (item("snapshot", b"n", b"s"), lambda b: b.snapshot()),
        (item("record", 1, "text"), lambda b: list(b.records(0))),
        (item("log", 1, b"s"), lambda b: list(b.log_rows())),
        (item("log", -1, b"s", b"l"), lambda b: list(b.log_rows())),
        (item("record", -1, b"r"), lambda b: list(b.records(-5))),
        (item("snapshot", 0, b"s"), lambda b: b.snapshot()),
    ],
)
def test_a_part_of_another_type_is_refused(
    tmp_path: Path, part: bytes, read: Callable[[Backup], object]
) -> None:
    """When it is read."""
    path = tmp_path / "backup"
    path.write_bytes(sealed_off(part))
    backup = Backup(path)
    with pytest.raises(TamperedError) as e:
        read(backup)
    assert e.value.code == "state.tampered"
    backup.close()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """Each pass looks at all of it."""
    path = written(tmp_path)
    backup = Backup(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"sealed 1")] ^= 1
    path.write_bytes(data)
    with pytest.raises(TamperedError):
        list(backup.log_rows())
    backup.close()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """As any file that somebody names."""
    with pytest.raises(ConfigError) as e:
        Backup(tmp_path / "none")
    assert e.value.code == "config.missing"


def test_nothing_is_written_to_it(tmp_path: Path) -> None:
    """It is no place to go on from."""
    backup = Backup(written(tmp_path))
    with pytest.raises(LocalProtocolError):
        backup.append(7, b"seven", [])
    with pytest.raises(LocalProtocolError):
        backup.put_slot("a", b"1")
    with pytest.raises(LocalProtocolError):
        backup.put_snapshot(7, b"s", keep=0)
    backup.close()


def test_another_whole_backup_in_the_same_file_is_refused(tmp_path: Path) -> None:
    """What is copied is what was checked."""
    path = written(tmp_path)
    backup = Backup(path)
    other = backend()
    other.log_rows[1] = LogRow(1, b"sealed x", bytes([1]) * 32)
    whole = tmp_path / "other"
    with whole.open("wb") as file:
        write_backup(other, file, progress=lambda _done, _total: None)
    assert whole.stat().st_size == path.stat().st_size
    path.write_bytes(whole.read_bytes())
    with pytest.raises(TamperedError):
        list(backup.log_rows())
    backup.close()
