"""The short version of the soak: 25 kills of the volume's server; `make soak` does 1 000."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cloister.testing.file_volume import open_file_volume
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.regions import RegionClass, Regions
from soak import volume_kills
from soak.volume_kills import LostError, Promised, Report, soak


@pytest.mark.fuse
@pytest.mark.slow
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """After each kill the volume opens at the last promised state, or a newer one."""
    report = soak(tmp_path, kills=25, seed=3)
    assert report.kills == 25
    assert report.promises > 25
    assert report.version > 25


@pytest.mark.fuse
@pytest.mark.slow
def test_kills_lose_nothing_that_the_host_may_read(tmp_path: Path) -> None:
    """The same where checkpoints and logs are authenticated and not encrypted."""
    regions = Regions({"/": RegionClass.AUTHENTICATED})
    report = soak(tmp_path, kills=6, seed=4, regions=regions)
    assert report.kills == 6
    stored = b"".join(
        p.read_bytes() for p in tmp_path.glob("state/volume/objects/**/*") if p.is_file()
    )
    assert volume_kills.record_bytes(0) in stored


def save(config: bytes, name: bytes, data: bytes) -> None:
    filesystem = open_file_volume(config)
    ino = filesystem.create(ROOT_INO, name, 0o100600, 0, 0).ino
    filesystem.write(ino, 0, memoryview(data))
    filesystem.close()


def test_the_check_would_notice_a_loss(tmp_path: Path) -> None:
    """An older or torn checkpoint, a short log and an older version are each found."""
    config = bytes(tmp_path / "state")
    save(config, b"checkpoint", volume_kills.checkpoint_bytes(5))
    volume_kills.check(config, 0, Promised(5, 0), Report())
    for promised, report in [
        (Promised(6, 0), Report()),
        (Promised(5, 1), Report()),
        (Promised(5, 0), Report(version=1000)),
    ]:
        with pytest.raises(LostError):
            volume_kills.check(config, 0, promised, report)
    torn = bytes(tmp_path / "torn")
    save(torn, b"checkpoint", volume_kills.checkpoint_bytes(5)[:-1])
    with pytest.raises(LostError):
        volume_kills.check(torn, 0, Promised(5, 0), Report())
    wrong = bytes(tmp_path / "wrong")
    save(wrong, b"log-0", volume_kills.RECORD.pack(0, hashlib.sha256(b"1").digest()))
    with pytest.raises(LostError):
        volume_kills.check(wrong, 0, Promised(-1, 1), Report())
