"""The cache on disk: private, whole or not there, bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.endorsing import cache as module
from cloister.endorsing.cache import Cache, answer_bytes, entry_name, read_answer
from cloister.endorsing.questions import Answer
from cloister.errors import CloisterError, ConfigError, UnavailableError

ANSWER = Answer("https://a.example/x", 5, (("h", "v"),), b"body")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty one."""
    return Cache.open(tmp_path / "a" / "b")


@pytest.mark.spec("ES-20")
def test_what_was_written_is_read(cache: Cache) -> None:
    """Under its own name only; a newer answer takes the place."""
    cache.write("aa", ANSWER)
    assert cache.read("aa") == ANSWER
    assert cache.read("bb") is None
    newer = Answer("https://a.example/x", 6, (), b"")
    cache.write("aa", newer)
    assert cache.read("aa") == newer


@pytest.mark.spec("ES-21")
def test_names_tell_questions_apart() -> None:
    """By address, and by what is posted."""
    names = {
        entry_name("https://a/", b""),
        entry_name("https://a/", b"x"),
        entry_name("https://ax/", b""),
    }
    assert len(names) == 3


@pytest.mark.spec("ES-22")
def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    """Open to a group, a link, a file."""
    for name in ("open", "real"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o770)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    for name in ("open", "link", "file", "file/below"):
        with pytest.raises(ConfigError):
            Cache.open(tmp_path / name)


@pytest.mark.spec("ES-22")
def test_a_killed_writer_leaves_no_entry(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves has another name, and is in nobody's way."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cache.write("aa", ANSWER)
    assert cache.read("aa") is None
    assert len(list(cache.folder.iterdir())) == 1
    cache.write("aa", ANSWER)
    assert cache.read("aa") == ANSWER


@pytest.mark.spec("ES-23")
def test_what_is_no_entry_is_none(cache: Cache) -> None:
    """A pipe is not waited for, a link is not followed, a huge file is not read."""
    os.mkfifo(cache.folder / "aa.entry")
    (cache.folder / "target").write_bytes(answer_bytes(ANSWER))
    (cache.folder / "bb.entry").symlink_to("target")
    with (cache.folder / "cc.entry").open("wb") as file:
        file.truncate(1 << 30)
    (cache.folder / "dd.entry").mkdir()
    assert [cache.read(name) for name in ("aa", "bb", "cc", "dd")] == [None] * 4


@pytest.mark.spec("ES-23")
def test_every_flipped_bit_and_cut_is_seen() -> None:
    """With our errors only."""
    data = answer_bytes(ANSWER)
    for position in range(len(data)):
        flipped = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        for bad in (flipped, data[:position], data + b"\0"):
            with pytest.raises(CloisterError):
                read_answer(bad)


@pytest.mark.spec("ES-24")
def test_the_oldest_make_room(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of them; what killed processes left goes too, what is being written stays."""
    monkeypatch.setattr(module, "_MAX_ENTRIES", 8)
    for number in range(8):
        cache.write(f"{number:02}", ANSWER)
        os.utime(cache.folder / f"{number:02}.entry", (number, 10_000 + number))
    for name, at in ((".x.entry.1.1", 5), (".y.entry.1.1", 10_000)):
        (cache.folder / name).touch()
        os.utime(cache.folder / name, (at, at))
    cache.write("new", ANSWER)
    names = sorted(each.name for each in cache.folder.iterdir())
    assert names == [".y.entry.1.1", *(f"{number:02}.entry" for number in range(2, 8)), "new.entry"]


@pytest.mark.spec("ES-8")
def test_a_pause_is_an_hour_at_most(cache: Cache) -> None:
    """Of one host; what somebody wrote there by hand keeps nobody away for ever."""
    cache.pause("a.example", now=100, for_s=10.5)
    assert [cache.paused("a.example", now=now) for now in (100, 110, 111)] == [111, 111, 0]
    assert cache.paused("b.example", now=100) == 0
    cache.pause("a.example", now=100, for_s=1e9)
    assert cache.paused("a.example", now=100) == 3700
    (written,) = cache.folder.glob("pause-*")
    for text in (b"9" * 40, b"99999999999", b"-5", b"x", b""):
        written.write_bytes(text)
        assert cache.paused("a.example", now=100) == 0


@pytest.mark.spec("ES-7")
def test_a_lock_is_waited_for_within_limits(cache: Cache) -> None:
    """And is free again when its holder has ended."""
    left = iter([1.0, 0.5, 0.0])
    slept: list[float] = []
    with cache.lock("aa", left=lambda: 1.0, sleep=slept.append):
        with (
            pytest.raises(UnavailableError),
            cache.lock("aa", left=lambda: next(left), sleep=slept.append),
        ):
            pytest.fail("two hold one lock")
        assert len(slept) == 2
    with cache.lock("aa", left=lambda: 0.0, sleep=slept.append):
        pass
