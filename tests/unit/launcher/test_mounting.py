"""The owner's own mount, without mounting; tests/integration does that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.confinement.channel import Channel
from cloister.crypto.keyring import KeyRing
from cloister.errors import CloisterError, ConfigError
from cloister.keyservice.anchors import AnchoredState
from cloister.keyservice.bundle import Lease
from cloister.keyservice.owner_replies import OwnerLease
from cloister.launcher import mounting
from cloister.launcher.mounting import MountRequest
from cloister.launcher.plan import VolumePlan
from cloister.volume.opening import create_volume
from cloister.volume.regions import ENCRYPTED_ONLY

_STATE = AnchoredState(4, b"r" * 32, 2)


class FakeOwner:
    """Gives a key to readers and a lease to writers."""

    def volume_key(self, _volume: bytes) -> OwnerLease:
        return OwnerLease(KeyRing.first(b"k" * 32), _STATE, None)

    def take_lease(self, _volume: bytes) -> OwnerLease:
        return OwnerLease(KeyRing.first(b"k" * 32), _STATE, Lease(3, b"s" * 32, 60))


def _request(store: Path, target: Path, *, writable: bool = False) -> MountRequest:
    return MountRequest(
        store=store,
        target=target,
        writable=writable,
        service=None,
        url="unix:///x",
        regions=ENCRYPTED_ONLY,
        connect=FakeOwner,
    )


def test_a_plan_needs_a_volume_and_a_place(tmp_path: Path) -> None:
    """Nothing is made that is not there."""
    identity = create_volume(tmp_path / "store", b"k" * 32)
    (tmp_path / "mnt").mkdir()
    plan = mounting._plan(_request(tmp_path / "store", tmp_path / "mnt", writable=True))
    assert (plan.id, plan.access, plan.target) == (
        identity.volume_id,
        "write",
        str(tmp_path / "mnt"),
    )
    for store, target in (("store", "none"), ("none", "mnt")):
        with pytest.raises(ConfigError) as caught:
            mounting._plan(_request(tmp_path / store, tmp_path / target))
        assert caught.value.code == "config.missing"


@pytest.mark.parametrize(("access", "epoch"), [("read", 0), ("write", 3)])
def test_only_a_writer_takes_the_lease(access: str, epoch: int) -> None:
    """A reader gets the state that is newest now."""
    plan = VolumePlan("/mnt", "store", b"v" * 16, access, Path("store"), ENCRYPTED_ONLY)
    grant = mounting._grant(FakeOwner(), plan)
    assert (grant.access, grant.lease.epoch, grant.version) == (access, epoch, 4)


def test_what_went_wrong_in_the_child_is_raised_here() -> None:
    """With its code and next step; the end of the channel means that the command runs."""
    ours, theirs = Channel.pair()
    theirs.send({"code": "machine.fuse", "public": "no device", "hint": "modprobe fuse"})
    with pytest.raises(CloisterError) as caught:
        mounting._receive_mount(ours)
    assert (caught.value.code, caught.value.hint) == ("machine.fuse", "modprobe fuse")
    theirs.send({"code": "workload.start", "public": "no program", "hint": ""})
    with pytest.raises(CloisterError) as caught:
        mounting._require_started(ours)
    assert (caught.value.code, caught.value.hint) == ("workload.start", None)
    theirs.close()
    mounting._require_started(ours)
    ours.close()


def test_a_child_is_killed_and_reaped_with_its_block() -> None:
    """However the block ends, no process is left."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with mounting._Child(process.pid) as child:
        child.signal(signal.SIGCONT)
    assert child.status == 128 + signal.SIGKILL
    child.signal(signal.SIGTERM)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)
    process.returncode = 0
    assert process.stdin is not None
    process.stdin.close()
