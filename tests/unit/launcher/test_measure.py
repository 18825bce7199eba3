"""Measuring folders: what changes the digest, and when the cache is believed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import ConfigError
from cloister.launcher import measure as measure_module
from cloister.launcher import scan
from cloister.launcher.cache import CacheKey
from cloister.launcher.manifest import RUNTIME_LABEL
from cloister.launcher.measure import MeasurementCache, measure
from cloister.launcher.runtime import MeasuredRoot

_LATER = 4_000_000_000  # far behind every file's change time: nothing is racy


class _Progress:
    """Remembers what was hashed."""

    def __init__(self) -> None:
        self.hashed = 0

    def __call__(self, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.hashed = done


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package."""
    root = tmp_path / "packages"
    (root / "pkg" / "__pycache__").mkdir(parents=True)
    (root / "pkg" / "a.py").write_text("a = 1\n")
    (root / "pkg" / "__pycache__" / "a.pyc").write_bytes(b"\x00cached")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "link").symlink_to("pkg/a.py")
    return root


def _digest(
    root: Path, cache: MeasurementCache | None = None, *, at: int = _LATER, skipped: str = ""
) -> tuple[bytes, int]:
    progress = _Progress()
    names = frozenset({skipped}) if skipped else frozenset()
    roots = [MeasuredRoot("packages/0", root, skipped=names)]
    manifest = measure(roots, cache=cache, at=at, progress=progress)
    return manifest.digest(RUNTIME_LABEL), progress.hashed


def _cache(tmp_path: Path, secret: bytes = b"k" * 32) -> MeasurementCache:
    return MeasurementCache(tmp_path / "state" / "measured", CacheKey(secret))


@pytest.mark.spec("LM-4")
def test_content_mode_links_and_bytecode_count(tree: Path) -> None:
    """Each of them changes the digest; times and owners do not."""
    digests = [_digest(tree)[0]]
    os.utime(tree / "pkg" / "a.py", (1, 1))
    assert _digest(tree)[0] == digests[0]
    (tree / "pkg" / "a.py").write_text("a = 2\n")
    digests.append(_digest(tree)[0])
    (tree / "run.sh").chmod(0o755)
    digests.append(_digest(tree)[0])
    (tree / "link").unlink()
    (tree / "link").symlink_to("run.sh")
    digests.append(_digest(tree)[0])
    (tree / "pkg" / "__pycache__" / "a.pyc").write_bytes(b"\x00other!")
    digests.append(_digest(tree)[0])
    (tree / "empty").mkdir()
    digests.append(_digest(tree)[0])
    assert len(set(digests)) == len(digests)


@pytest.mark.spec("LM-12")
def test_what_the_sandbox_hides_is_left_out(tree: Path) -> None:
    """Skipped names do not count, at any depth."""
    before = _digest(tree, skipped="__pycache__")
    (tree / "pkg" / "__pycache__" / "a.pyc").write_bytes(b"\x00other!")
    assert _digest(tree, skipped="__pycache__") == before
    assert _digest(tree)[0] != before[0]


@pytest.mark.spec("LM-20")
def test_a_second_run_hashes_nothing_and_agrees(tree: Path, tmp_path: Path) -> None:
    """The cache gives the digest that hashing gives."""
    cache = _cache(tmp_path)
    cold, hashed = _digest(tree, cache)
    assert hashed > 0
    assert _digest(tree, cache) == (cold, 0)
    assert _digest(tree)[0] == cold


@pytest.mark.spec("LM-20")
def test_a_changed_file_is_hashed_again_and_only_it(tree: Path, tmp_path: Path) -> None:
    """The rest of its folder comes from the cache."""
    cache = _cache(tmp_path)
    _digest(tree, cache)
    (tree / "run.sh").write_text("#!/bin/sh\nexit 1\n")
    found, hashed = _digest(tree, cache)
    assert hashed == len("#!/bin/sh\nexit 1\n")
    assert found == _digest(tree)[0]


@pytest.mark.spec("LM-21")
def test_a_change_that_keeps_size_and_modification_time_is_seen(tree: Path, tmp_path: Path) -> None:
    """Putting the modification time back does not help: the kernel sets the change time."""
    cache = _cache(tmp_path)
    path = tree / "pkg" / "a.py"
    status = path.stat()
    before, _ = _digest(tree, cache)
    path.write_text("a = 3\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert _digest(tree, cache)[0] != before


@pytest.mark.spec("LM-22")
def test_a_file_changed_just_now_is_not_believed(tree: Path, tmp_path: Path) -> None:
    """What changed within two seconds of measuring is hashed again next time."""
    cache = _cache(tmp_path)
    now = int((tree / "run.sh").stat().st_ctime_ns // 1_000_000_000)
    _, first = _digest(tree, cache, at=now)
    assert _digest(tree, cache, at=now)[1] == first
    assert _digest(tree, cache, at=now + 10)[1] == first
    assert _digest(tree, cache, at=now + 10)[1] == 0


@pytest.mark.spec("LM-23")
@pytest.mark.parametrize("damage", ["key", "flip", "cut", "empty", "text"])
def test_a_foreign_or_damaged_cache_is_ignored(tree: Path, tmp_path: Path, damage: str) -> None:
    """A cache that this platform did not write counts as empty."""
    cache = _cache(tmp_path)
    cold, hashed = _digest(tree, cache)
    data = bytearray(cache.path.read_bytes())
    if damage == "key":
        cache = _cache(tmp_path, b"o" * 32)
    elif damage == "flip":
        data[-1] ^= 1
    elif damage == "cut":
        del data[-1:]
    elif damage == "empty":
        data.clear()
    else:
        data[:] = b"hello"
    cache.path.write_bytes(data)
    assert _digest(tree, cache) == (cold, hashed)


@pytest.mark.spec("LM-24")
def test_the_cache_is_private(tree: Path, tmp_path: Path) -> None:
    """Its folder is 0700 and its file 0600."""
    cache = _cache(tmp_path)
    _digest(tree, cache)
    assert cache.path.stat().st_mode & 0o777 == 0o600
    assert cache.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_is_named(tree: Path, tmp_path: Path) -> None:
    """`config.file` with the path."""
    (tmp_path / "state").write_text("a file where a folder is meant")
    with pytest.raises(ConfigError) as caught:
        _digest(tree, _cache(tmp_path))
    assert caught.value.code == "config.file"


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    """`config.file` with the path."""
    with pytest.raises(ConfigError) as caught:
        _digest(tmp_path / "nowhere")
    assert caught.value.code == "config.file"
    assert "nowhere" in caught.value.public


def test_a_socket_or_pipe_is_refused(tree: Path) -> None:
    """`config.file`: such a thing has no content to measure."""
    os.mkfifo(tree / "pipe")
    with pytest.raises(ConfigError) as caught:
        _digest(tree)
    assert caught.value.code == "config.file"


def test_a_file_that_changes_meanwhile_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config.file`: its digest would belong to no state of it."""
    honest = measure_module._hash_content

    def slow(path: bytes) -> tuple[bytes, os.stat_result]:
        digest, _ = honest(path)
        Path(os.fsdecode(path)).write_text("changed meanwhile")
        return digest, Path(os.fsdecode(path)).stat()

    monkeypatch.setattr(measure_module, "_hash_content", slow)
    with pytest.raises(ConfigError) as caught:
        _digest(tree)
    assert caught.value.code == "config.file"
    assert "changed while" in caught.value.public


def test_sharing_the_scan_changes_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With helper processes the listing is the same as without, and so are errors."""
    for number in range(80):
        (tree / "pkg" / f"d{number}" / "e").mkdir(parents=True)
        (tree / "pkg" / f"d{number}" / "e" / "f.py").write_text(str(number))
    monkeypatch.setattr(scan, "_MAX_PROCESSES", 1)
    alone = _digest(tree)
    monkeypatch.setattr(scan, "_MAX_PROCESSES", 4)
    assert _digest(tree) == alone
    monkeypatch.setattr(scan, "_list_one", _failing_below(scan._list_one))
    with pytest.raises(ConfigError) as caught:
        _digest(tree)
    assert caught.value.code == "config.file"


def _failing_below(honest: Callable[..., Any]) -> Callable[..., Any]:
    def listing(task: Any, found: Any) -> Any:
        if task.path.endswith(b"/d7"):
            raise scan._unreadable(task.path, OSError(13, "Permission denied"))
        return honest(task, found)

    return listing


@pytest.mark.spec("LM-14")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_neither_file_nor_link_is_refused(tree: Path, kind: str) -> None:
    """`config.file`, without opening it: nobody waits for a pipe's writer."""
    place = tree / "odd"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    else:
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    with pytest.raises(ConfigError) as caught:
        _digest(tree)
    assert caught.value.code == "config.file"
    assert str(place) in caught.value.public


@pytest.mark.spec("LM-14")
def test_a_file_that_changes_while_it_is_measured_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config.file`: its content was hashed, and by the end it is another file's."""
    hash_content = measure_module._hash_content

    def change_meanwhile(path: bytes) -> tuple[bytes, os.stat_result]:
        digest, _ = hash_content(path)
        with open(path, "ab") as stream:  # noqa: PTH123  # bytes
            stream.write(b"more")
        return digest, os.lstat(path)

    monkeypatch.setattr(measure_module, "_hash_content", change_meanwhile)
    with pytest.raises(ConfigError) as caught:
        _digest(tree)
    assert caught.value.code == "config.file"
    assert "changed while it was measured" in caught.value.public
