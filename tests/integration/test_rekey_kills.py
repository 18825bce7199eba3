"""Rekeying on a disk, killed again and again: nothing is lost, and it comes to its end."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

from cloister.crypto.keyring import KeyRing
from cloister.testing.volume import get, put
from cloister.volume import rekey
from cloister.volume.anchor_file import FileAnchor
from cloister.volume.opening import create_volume, open_volume
from cloister.volume.tree import VolumeFilesystem

RING = KeyRing.first(b"1" * 32).rotated(b"2" * 32)
FILES = {
    b"large": b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(200_000)),
    **{b"%d" % n: bytes([n]) * 5000 for n in range(100)},
}


def opened(folder: Path, keys: KeyRing, *, writable: bool) -> VolumeFilesystem:
    path = folder / "anchor"
    anchor = FileAnchor.acquire(path) if writable else FileAnchor.read(path)
    return open_volume(folder / "volume", keys, anchor=anchor, writable=writable)


def rekey_in_another_process(folder: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            rekey.COMMIT_BYTES = 256 * 1024
            fs = opened(folder, RING, writable=True)
            fs.rekeying().run(progress=lambda _: time.sleep(0.002))
            fs.close()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def require_content(folder: Path, keys: KeyRing) -> None:
    fs = opened(folder, keys, writable=False)
    for name, data in FILES.items():
        assert get(fs, name) == data
    fs.close()


@pytest.mark.spec("VOL-60", "VOL-78")
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """After each kill everything reads; in the end the newest key alone opens it."""
    made = create_volume(tmp_path / "volume", RING.key(1) or b"")
    FileAnchor.make(tmp_path / "anchor", version=made.version, root=made.root)
    fs = opened(tmp_path, RING.first(b"1" * 32), writable=True)
    for name, data in FILES.items():
        put(fs, name, data)
    fs.close()
    committed = fs.identity.version
    kills = 0
    for attempt in range(200):
        pid = rekey_in_another_process(tmp_path)
        time.sleep(0.05 + 0.02 * attempt)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        version = FileAnchor.read(tmp_path / "anchor").state().version
        assert version >= committed
        committed = version
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        kills += 1
        if kills % 4 == 1:
            require_content(tmp_path, RING)
    else:
        pytest.fail("it never came to its end")
    assert kills > 2
    require_content(tmp_path, RING.since(2))
