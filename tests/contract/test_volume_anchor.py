"""What every anchor promises, over the fake and the owner's file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.errors import ConfigError, ReleaseDeniedError, TamperedError
from cloister.testing.anchor import AnchorHolder
from cloister.volume.anchor import Anchor, AnchorState, PinnedAnchor
from cloister.volume.anchor_file import FileAnchor

ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))


@dataclass
class Place:
    """Where one volume's anchor is, however it is kept."""

    acquire: Callable[[], Anchor]
    reader: Callable[[], Anchor]


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        holder = AnchorHolder()
        holder.register(version=1, root=ONE)
        return Place(holder.acquire, holder.reader)
    path = tmp_path / "anchor"
    FileAnchor.make(path, version=1, root=ONE)
    return Place(lambda: FileAnchor.acquire(path), lambda: FileAnchor.read(path))


def test_state_begins_as_registered(place: Place) -> None:
    """A new anchor tells what it was made with."""
    assert place.reader().state() == AnchorState(1, ONE, 0)
    assert place.reader().epoch == 0


def test_advance_moves_everybody(place: Place) -> None:
    """After `advance` every reader sees the new state and its writer's epoch."""
    writer = place.acquire()
    writer.advance(version=1, root=ONE, new_version=2, new_root=TWO)
    assert place.reader().state() == AnchorState(2, TWO, writer.epoch)


def test_advance_is_idempotent(place: Place) -> None:
    """Asking again for what is already there succeeds."""
    writer = place.acquire()
    for _ in range(3):
        writer.advance(version=1, root=ONE, new_version=5, new_root=TWO)
    assert place.reader().state().version == 5


@pytest.mark.parametrize(
    ("version", "root", "new_version"), [(1, TWO, 2), (2, ONE, 3), (1, ONE, 1), (1, ONE, 0)]
)
def test_wrong_expectation_is_fenced(
    place: Place, version: int, root: bytes, new_version: int
) -> None:
    """Another state than expected, or a version that does not grow, moves nothing."""
    with pytest.raises(ReleaseDeniedError) as caught:
        place.acquire().advance(version=version, root=root, new_version=new_version, new_root=THREE)
    assert caught.value.code == "release.fenced"
    assert place.reader().state() == AnchorState(1, ONE, 0)


def test_older_lease_is_fenced(place: Place) -> None:
    """A newer lease has a larger epoch and fences the older."""
    old, new = place.acquire(), place.acquire()
    assert new.epoch > old.epoch
    with pytest.raises(ReleaseDeniedError):
        old.advance(version=1, root=ONE, new_version=2, new_root=TWO)
    new.advance(version=1, root=ONE, new_version=2, new_root=TWO)


def test_reader_cannot_advance(place: Place) -> None:
    """Without a lease nothing moves."""
    with pytest.raises(ReleaseDeniedError):
        place.reader().advance(version=1, root=ONE, new_version=2, new_root=TWO)


def test_pinned_anchor_stays() -> None:
    """A pinned state is told and never moves."""
    anchor = PinnedAnchor(AnchorState(3, ONE, 2))
    assert anchor.state().version == 3
    assert anchor.epoch == 0
    with pytest.raises(ReleaseDeniedError):
        anchor.advance(version=3, root=ONE, new_version=4, new_root=TWO)


def test_file_is_private_and_not_made_twice(tmp_path: Path) -> None:
    """The anchor's file is the owner's only, and an existing one is not overwritten."""
    path = tmp_path / "anchor"
    FileAnchor.make(path, version=1, root=ONE)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError) as caught:
        FileAnchor.make(path, version=1, root=TWO)
    assert caught.value.code == "config.exists"


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    """A missing anchor is a mistake, a damaged one is tampering."""
    path = tmp_path / "anchor"
    with pytest.raises(ConfigError) as missing:
        FileAnchor.read(path)
    assert missing.value.code == "config.missing"
    FileAnchor.make(path, version=1, root=ONE)
    data = path.read_bytes()
    for damaged in (b"", data[:-1], data + b"\0", b"\xff" * 5000):
        path.write_bytes(damaged)
        with pytest.raises(TamperedError) as caught:
            FileAnchor.read(path)
        assert caught.value.code == "state.tampered"


def test_leases_taken_at_once_differ(tmp_path: Path) -> None:
    """Two that take the lease at the same time get different epochs."""
    path = tmp_path / "anchor"
    FileAnchor.make(path, version=1, root=ONE)
    epochs: list[int] = []
    threads = [
        threading.Thread(target=lambda: epochs.append(FileAnchor.acquire(path).epoch))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == list(range(1, 9))
