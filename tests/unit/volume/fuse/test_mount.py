"""What can be said about mounting without mounting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.errors import UnsupportedError
from cloister.volume.fuse import mount


def test_options_leave_permissions_to_the_kernel() -> None:
    """The kernel checks permissions, for every user, against stored modes."""
    options = mount.mount_options(5, uid=10, gid=20).split(",")
    assert options[:4] == ["fd=5", "rootmode=40000", "user_id=10", "group_id=20"]
    assert {"default_permissions", "allow_other"} <= set(options)


def test_missing_device_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the device the error says what is missing and what to do."""
    monkeypatch.setattr(mount, "_DEVICE", str(tmp_path / "fuse"))
    with pytest.raises(UnsupportedError) as caught:
        mount.open_and_mount(tmp_path, name="x", read_only=False)
    assert caught.value.code == "machine.fuse"
    assert "modprobe fuse" in (caught.value.hint or "")


def test_refused_mount_is_unsupported_and_closes_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where mount(2) refuses, the error says so and nothing stays open."""
    monkeypatch.setattr(mount, "_DEVICE", os.devnull)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UnsupportedError) as caught:
        mount.open_and_mount(tmp_path, name="x", read_only=False)
    assert caught.value.code == "machine.fuse"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_unmounting_what_is_not_mounted_fails(tmp_path: Path) -> None:
    """Unmount says what it could not do."""
    with pytest.raises(UnsupportedError) as caught:
        mount.unmount(tmp_path, detach=True)
    assert caught.value.code == "machine.fuse"


def test_read_ahead_is_optional() -> None:
    """Where the machine does not let us, the answer is no, not an error."""
    assert not mount.raise_read_ahead("0:0-none")
