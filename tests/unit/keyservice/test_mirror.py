"""A mirror's files: strict to read, durable to write, one writer."""

from __future__ import annotations

import base64
import errno
import os
from pathlib import Path

import pytest

from cloister.errors import (
    ConfigError,
    MalformedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import mirror as module
from cloister.keyservice.mirror import Mirror, MirrorWriter, read_note_file, replace_durably

LEAVES = [b"one", b"two", b"three"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mirror of three leaves."""
    with MirrorWriter(tmp_path / "made" / "mirror") as writer:
        assert writer.is_new
        writer.append(LEAVES)
        writer.put_note("note")
        assert not writer.is_new
    return tmp_path / "made" / "mirror"


@pytest.mark.spec("RL-30")
def test_a_mirror_is_lines_and_a_note(folder: Path) -> None:
    """Readable with any tool; for its owner only."""
    lines = (folder / "entries").read_bytes().split(b"\n")
    assert [base64.b64decode(line) for line in lines] == [*LEAVES, b""]
    assert (folder / "checkpoint").read_text() == "note"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(Mirror(folder).leaves()) == LEAVES
    assert Mirror(folder).note() == "note"
    assert {path.name for path in folder.iterdir()} == {"entries", "checkpoint"}


@pytest.mark.spec("RL-31")
def test_a_torn_last_line_is_no_leaf(folder: Path) -> None:
    """A crash while appending leaves it; keeping drops it."""
    with (folder / "entries").open("ab") as file:
        file.write(b"Zm91")
    assert list(Mirror(folder).leaves()) == LEAVES
    with MirrorWriter(folder) as writer:
        writer.keep(3)
        writer.append([b"four"])
        assert list(writer.leaves()) == [*LEAVES, b"four"]
        writer.keep(2)
        assert list(writer.leaves()) == LEAVES[:2]
        writer.keep(9)
        assert list(writer.leaves()) == LEAVES[:2]


@pytest.mark.spec("RL-51")
@pytest.mark.parametrize(
    "line", [b"", b"!", b"Zm91c", b"Zm91cg=", b" Zm91", b"\xff\xfe", b"A" * 5468]
)
def test_a_changed_line_is_refused(folder: Path, line: bytes) -> None:
    """A line is one leaf in one spelling, of a leaf's length."""
    (folder / "entries").write_bytes(b"Zm91\n" + line + b"\nZm91\n")
    with pytest.raises(TamperedError) as e:
        list(Mirror(folder).leaves())
    assert e.value.code == "log.proof"


@pytest.mark.spec("RL-51")
def test_a_line_without_end_is_not_read_into_memory(folder: Path) -> None:
    """Longer than any leaf is changed, however long."""
    (folder / "entries").write_bytes(b"A" * 100_000)
    with pytest.raises(TamperedError) as e:
        list(Mirror(folder).leaves())
    assert e.value.code == "log.proof"


def test_no_mirror_is_said(tmp_path: Path) -> None:
    """With what makes one."""
    with pytest.raises(ConfigError) as e:
        Mirror(tmp_path).note()
    assert e.value.code == "config.missing"
    assert "audit fetch" in (e.value.hint or "")
    assert list(Mirror(tmp_path).leaves()) == []


def test_one_writer_at_a_time(folder: Path) -> None:
    """The second is told."""
    with MirrorWriter(folder), pytest.raises(UnavailableError) as e:
        MirrorWriter(folder)
    assert e.value.code == "keyservice.busy"
    with MirrorWriter(folder):
        pass


def test_a_file_that_is_no_text_is_no_note(tmp_path: Path) -> None:
    """And one that is not there is named."""
    (tmp_path / "note").write_bytes(b"\xff\xff")
    with pytest.raises(MalformedError) as e:
        read_note_file(tmp_path / "note")
    assert e.value.code == "message.malformed"
    with pytest.raises(ConfigError) as e2:
        read_note_file(tmp_path / "none")
    assert e2.value.code == "config.file"


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    """By name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as e:
        MirrorWriter(tmp_path / "file")
    assert e.value.code == "config.file"
    (tmp_path / "entries").mkdir()
    with pytest.raises(ConfigError) as e:
        list(Mirror(tmp_path).leaves())
    assert e.value.code == "config.file"


def test_a_full_disk_has_its_own_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with MirrorWriter(folder) as writer:
        monkeypatch.setattr(module.os, "write", full)
        with pytest.raises(StorageFullError) as e:
            writer.append([b"four"])
        assert e.value.code == "storage.full"
        monkeypatch.undo()
        assert list(writer.leaves()) == LEAVES


@pytest.mark.spec("RL-32")
def test_a_file_is_replaced_whole_and_durably(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, then name, then folder; the old one stays until then."""
    path = tmp_path / "file"
    replace_durably(path, b"old")
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        events.append("fsync " + Path(f"/proc/self/fd/{fd}").readlink().name)
        assert path.read_bytes() == (b"new" if "rename" in events else b"old")
        fsync(fd)

    def renamed(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    replace_durably(path, b"new")
    assert events == ["fsync .file.new", "rename", f"fsync {tmp_path.name}"]
